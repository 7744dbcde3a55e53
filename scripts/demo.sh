#!/usr/bin/env bash
# Shows on real images in minutes what this package does: measures the degradation of a camera from unpaired images, then
# trains super-resolution for it.
# Writes datasets/demo, experiments/demo_*, tb_logger/demo_* and demo_output into the current folder. Arguments are
# passed to both trainings, for example: --force_yml train:total_iter=100
set -euo pipefail
scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
options="$scripts/../options/demo"
source "$scripts/setup_env.sh" demo
start=$SECONDS

say() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - start)); }
# Prints the progress only. BasicSR's complete log is in experiments/*/train_*.log
train() {
    "$PYTHON" -m usrdu_basicsr.train -opt "$options/$1" "${@:2}" 2>&1 | tee demo_output/train.log \
        | grep --line-buffered -E 'lr:\(|# psnr' || { tail -n 20 demo_output/train.log >&2; return 1; }
}

say 'Images: clean HR, LR of an unknown camera, a paired validation set'
for folder in datasets/demo demo_output; do
    if [ -e "$folder" ] && [ ! -e "$folder/.made_by_demo" ]; then
        echo "error: $PWD/$folder exists and was not created by the demo. Move it, or run the demo in another folder" >&2
        exit 1
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    touch "$folder/.made_by_demo"
done
"$PYTHON" "$scripts/demo/prepare_demo.py"
say 'Stage 1: measure blur, noise and compression of the camera'
"$PYTHON" "$scripts/measure_camera.py" --hr datasets/demo/HR --lr datasets/demo/camera -o demo_output/camera
say 'Generate the LR distribution of every HR image'
"$PYTHON" "$scripts/generate_lr.py" -i datasets/demo/HR -o datasets/demo/generated \
    --model_path demo_output/camera/net_g_camera.pth
say 'Stage 2: super-resolution on sampled LR'
train train_srn.yml "$@"
say 'For comparison: the same network on bicubic LR, with as many iterations'
train train_srn_bicubic.yml "$@"
say 'Upscale the validation images'
for pair in srn:upscaled srn_bicubic:upscaled_bicubic; do
    "$PYTHON" "$scripts/inference.py" -i datasets/demo/validation/camera -o "demo_output/${pair#*:}" \
        --model_path "experiments/demo_${pair%:*}/models/net_g_latest.pth"
done
status=0
"$PYTHON" "$scripts/demo/demo_report.py" || status=$?
say 'Done'
exit $status
