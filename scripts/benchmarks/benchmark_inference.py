"""Time upscaling as in the published script and with this package, in turn in one process, and compare the results.

The published script runs one float32 forward pass of the whole image.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np

from machine import supported
from peak_memory import peak_memory, start_memory
from usrdu_basicsr import __version__, register
from usrdu_basicsr.cli.command_line import add_device, positive, run_script
from usrdu_basicsr.utils.files import write_text


def main() -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model_path', help='checkpoint (default: RRDBNet, 64 features, 23 blocks, random weights)')
    parser.add_argument('-i', '--input', type=Path, help='image to crop (default: one of scikit-image)')
    parser.add_argument('--size', type=positive, nargs=2, default=(128, 192), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--precisions', nargs='+', default=['fp32', 'bf16'], help='unsupported ones are skipped')
    parser.add_argument('--tiles', type=int, nargs='+', default=[0], help='0 for the whole image (default: 0)')
    parser.add_argument('--repeat', type=positive, default=3, help='rounds; the fastest is reported')
    parser.add_argument('--json', type=Path, help='JSON file of the results')
    add_device(parser)
    args = parser.parse_args()

    register()
    import torch
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from skimage import data

    from usrdu_basicsr.inference.load_network import load_generator
    from usrdu_basicsr.inference.upscaler import Upscaler
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.images import read_image
    from usrdu_basicsr.utils.precision import Precision

    device = pick_device(args.device)
    Precision('fp32', device).set_tf32()  # for the published script
    if args.model_path:
        network = load_generator(args.model_path, device)
    else:
        torch.manual_seed(0)
        network = RRDBNet(3, 3).to(device).eval().requires_grad_(False)
    source = read_image(args.input) if args.input else data.chelsea()[..., ::-1].astype(np.float32) / 255
    height, width = args.size
    repeats = (-(-height // source.shape[0]), -(-width // source.shape[1]), 1)
    image = np.ascontiguousarray(np.tile(source, repeats)[:height, :width])
    x = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None]

    def published_script() -> np.ndarray:
        with torch.no_grad():
            return network(x.to(device))[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()[..., ::-1]

    variants = {'published script': published_script}
    for precision in supported(args.precisions, device):
        for tile in args.tiles:
            name = f'{precision}, {f"tiles of {tile}" if tile else "whole"}'
            upscaler = Upscaler(copy.deepcopy(network), Precision(precision, device), tile)
            variants[name] = lambda upscaler=upscaler: upscaler(image)
    best = dict.fromkeys(variants, float('inf'))
    memory = dict.fromkeys(variants, 0.0)
    results = {}
    for round_number in range(args.repeat + 1):
        for name, run in variants.items():
            before, start = start_memory(device), time.perf_counter()
            results[name] = run()
            if round_number:  # the first round is a warm-up
                best[name] = min(best[name], time.perf_counter() - start)
            memory[name] = max(memory[name], peak_memory(device) - before)
    rows = []
    print(f'| {height}x{width} | seconds | speed-up | MB | PSNR to the published script, dB |\n|---|---|---|---|---|')
    for name, seconds in best.items():
        error = float(((results[name].astype(np.float64) - results['published script']) ** 2).mean())
        psnr = -10 * np.log10(error) if error else float('inf')
        faster = best['published script'] / seconds
        print(f'| {name} | {seconds:.2f} | {faster:.1f} | {memory[name]:.0f} | {psnr:.1f} |')
        row = {'variant': name, 'seconds': seconds, 'megabytes': memory[name]}
        rows.append(row | {'psnr': psnr if error else None})  # JSON has no infinity
    if args.json:
        versions = {'torch': torch.__version__, 'usrdu_basicsr': __version__, 'threads': torch.get_num_threads()}
        content = {'size': [height, width], 'device': str(device), **versions, 'variants': rows}
        write_text(args.json, json.dumps(content, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    run_script(main)
