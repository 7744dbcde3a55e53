#!/usr/bin/env bash
# Prepares a Python environment for this checkout. Source it to get PYTHON, the interpreter to use, and PATH set:
# `source setup_env.sh demo` for what the demo needs, `source setup_env.sh test` for what the tests need too.
#
#   PYTHON=/path/to/python   an environment with everything installed is used as it is; a virtual environment is
#                            completed where something is missing; from any other Python, .venv is made
#   no PYTHON                the active virtual or conda environment, else .venv, made from python3

_usrdu_needs='usrdu_basicsr basicsr torch torchvision numpy cv2 yaml lmdb tqdm scipy PIL skimage'
_usrdu_extras=
if [ "${1:-}" = test ]; then
    _usrdu_needs+=' pytest xdist ruff mypy'
    _usrdu_extras='[test]'
fi
_usrdu_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Silently true if this Python, started outside the checkout, finds the package and all that is needed.
# Finding a package does not import it, so this is quick.
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
        echo "error: cannot run the Python interpreter '$1'; set PYTHON to one of version 3.10, 3.11 or 3.12" >&2
        return 1
    fi
    case "$version" in
        3.10 | 3.11 | 3.12) ;;
        *)
            echo "error: $1 is Python $version, but BasicSR 1.4.2 needs 3.10, 3.11 or 3.12;" \
                "set PYTHON to such an interpreter" >&2
            return 1
            ;;
    esac
}

_usrdu_install() {
    echo "Installing usrdu_basicsr and its dependencies for $1 ..."
    if "$1" -m pip --version >/dev/null 2>&1 || "$1" -m ensurepip >/dev/null 2>&1; then
        "$1" -m pip install --quiet -e "$_usrdu_root$_usrdu_extras"
    elif command -v uv >/dev/null; then # environments made by uv have no pip
        uv pip install --quiet --python "$1" -e "$_usrdu_root$_usrdu_extras"
    else
        echo "error: $1 has neither pip nor ensurepip; install pip, or set PYTHON to another interpreter" >&2
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
                echo "Making the virtual environment $venv ..."
                "$python" -m venv "$venv" || return 1
            elif ! "$python" -c 'import sys; sys.exit(sys.argv[1] != "%d.%d" % sys.version_info[:2])' \
                "$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; then
                echo "error: $venv was made by another Python version than $python; remove it, or unset PYTHON" >&2
                return 1
            fi
            python="$venv/bin/python"
        fi
        _usrdu_ready "$python" || _usrdu_install "$python" || return 1
        if ! _usrdu_ready "$python"; then
            echo "error: $python still lacks a dependency after the installation" >&2
            return 1
        fi
    fi

    export PYTHON="$python" PATH="$(dirname "$python"):$PATH"
    # The package may be another checkout's, which the user should know.
    echo "Using $PYTHON ($("$PYTHON" --version)), usrdu_basicsr of $(cd / && "$PYTHON" -c \
        'import os, usrdu_basicsr; print(os.path.dirname(usrdu_basicsr.__file__))')"
}

_usrdu_setup || return 1 2>/dev/null || exit 1
