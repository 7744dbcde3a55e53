#!/usr/bin/env bash
# Checks style, types and imports, and runs the tests. `--fast` as the first argument skips tests marked `slow`.
# Other arguments are passed to pytest: bash scripts/test.sh --fast -k hook
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh" test
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The tests use small tensors, and each core runs a test process, so further threads would slow them down.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

select=()
if [ "${1:-}" = --fast ]; then
    select=(-m 'not slow')
    shift
fi
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy usrdu_basicsr
lint-imports --no-logo
"$PYTHON" -m pytest -q -n auto --dist loadfile "${select[@]}" "$@"
