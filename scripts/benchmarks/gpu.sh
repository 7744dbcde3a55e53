#!/usr/bin/env bash
# Judges this package on a GPU in less than ten minutes: runs the tests marked `cuda`, the benchmarks and the demo, and
# writes docs/gpu.json and from it the GPU tables of docs/benchmarks.md. See gpu_report.py for the arguments.
# The exit status is 0 if every part passed.
set -euo pipefail
scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$scripts/setup_env.sh" gpu
exec "$PYTHON" "$scripts/benchmarks/gpu_report.py" "$@"
