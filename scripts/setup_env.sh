#!/usr/bin/env bash
# Prepares a Python environment for this checkout. Source it to set PYTHON (the interpreter to use) and PATH:
# `source setup_env.sh demo` for the demo's requirements, `source setup_env.sh test` for those of the tests as well,
# `source setup_env.sh gpu` for those of the GPU report, which runs tests but no checks of style and types.
#
#   PYTHON=/path/to/python   If it has all packages, this Python is used unchanged. Otherwise missing packages are
#                            installed into its virtual or conda environment. A system Python is replaced by .venv.
#   PYTHON not set           The active virtual or conda environment is used, otherwise .venv, created from python3.

_usrdu_needs='usrdu_basicsr basicsr torch torchvision numpy cv2 pydantic yaml lmdb tqdm scipy psutil PIL skimage'
_usrdu_extras=
if [ "${1:-}" = test ]; then
    _usrdu_needs+=' pytest xdist jsonschema ruff mypy importlinter torchmetrics'
    _usrdu_extras='[test]'
elif [ "${1:-}" = gpu ]; then
    _usrdu_needs+=' pytest xdist'
    _usrdu_extras='[test]'
fi
_usrdu_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Succeeds if this Python, started outside the checkout, finds the package and all requirements.
# Finding a package does not import it, so this is fast.
_usrdu_ready() {
    (cd / && "$1" - $_usrdu_needs 2>/dev/null) <<'PY'
import importlib.util as util
import sys
sys.exit(any(util.find_spec(name) is None for name in sys.argv[1:]))
PY
}

_usrdu_is_environment() {
    "$1" -c 'import os, sys
conda = os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
sys.exit(not (conda or sys.prefix != sys.base_prefix))'
}

_usrdu_check_version() {
    local version
    if ! version="$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"; then
        echo "error: cannot run the Python interpreter '$1'. Set PYTHON to Python 3.10, 3.11 or 3.12" >&2
        return 1
    fi
    case "$version" in
        3.10 | 3.11 | 3.12) ;;
        *)
            echo "error: Python interpreter '$1': got Python $version, expected 3.10, 3.11 or 3.12 (for BasicSR 1.4.2)." \
                "Set PYTHON to another interpreter" >&2
            return 1
            ;;
    esac
}

_usrdu_install() {
    echo "Installing usrdu_basicsr and its dependencies for $1 ..."
    if "$1" -m pip --version >/dev/null 2>&1 || "$1" -m ensurepip >/dev/null 2>&1; then
        # BasicSR's setup.py requires torch. With old pip, setuptools would install that, and its choice of CUDA packages
        # contradicts itself at random.
        "$1" -m pip install --quiet --use-pep517 -e "$_usrdu_root$_usrdu_extras"
    elif command -v uv >/dev/null; then # environments made by uv have no pip
        uv pip install --quiet --python "$1" -e "$_usrdu_root$_usrdu_extras"
    else
        echo "error: '$1' has neither pip nor ensurepip. Install pip, or set PYTHON to another interpreter" >&2
        return 1
    fi
}

_usrdu_setup() {
    local python="${PYTHON:-}" environment="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" venv="$_usrdu_root/.venv"
    if [ -z "$python" ]; then
        if [ -n "$environment" ]; then
            python="$environment/bin/python"
        elif [ -x "$venv/bin/python" ]; then
            python="$venv/bin/python"
        else
            python=python3
        fi
    fi
    _usrdu_check_version "$python" || return 1
    python="$(command -v "$python")"
    case "$python" in /*) ;; *) python="$PWD/$python" ;; esac

    if ! _usrdu_ready "$python"; then
        if ! _usrdu_is_environment "$python"; then
            if [ ! -x "$venv/bin/python" ]; then
                echo "Creating the virtual environment $venv ..."
                "$python" -m venv "$venv" || return 1
            elif ! "$python" -c 'import sys; sys.exit(sys.argv[1] != "%d.%d" % sys.version_info[:2])' \
                "$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; then
                echo "error: '$venv' was created by another Python version than '$python'. Remove it, or unset PYTHON" >&2
                return 1
            fi
            python="$venv/bin/python"
        fi
        _usrdu_ready "$python" || _usrdu_install "$python" || return 1
        if ! _usrdu_ready "$python"; then
            echo "error: '$python' still lacks a requirement after the installation. Check the output of pip above" >&2
            return 1
        fi
    fi

    export PYTHON="$python" PATH="$(dirname "$python"):$PATH"
    # Print the path of the package, because it may be that of another checkout.
    echo "Using $PYTHON ($("$PYTHON" --version)), usrdu_basicsr of $(cd / && "$PYTHON" -c \
        'import os, usrdu_basicsr; print(os.path.dirname(usrdu_basicsr.__file__))')"
}

_usrdu_setup || return 1 2>/dev/null || exit 1
