#!/usr/bin/env bash
# Style, types and tests; arguments go to pytest: bash scripts/test.sh -k hook
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh" test
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The tests' tensors are small, and a process a core is busy already: more threads only cost.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy usrdu_basicsr
"$(dirname "$PYTHON")/lint-imports" --no-logo
"$PYTHON" -m pytest -q -n auto --dist loadfile "$@"
