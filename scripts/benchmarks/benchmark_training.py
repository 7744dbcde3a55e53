"""Seconds and memory of a training step: BasicSR's SRGANModel, and both stages in each setting that the device has.

One process, in turn, with the networks and losses of options/track1 (VGG's weights are random, which costs the same).
For stage 1 SRGANModel trains the mean of the same downsampling network. Without --gt_size and --batch the published
sizes on a GPU, and on a CPU what it can do: stage 1 with 4 crops of 128, stage 2 with 2 of 128.
"""

import argparse
import json
import logging
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from peak_memory import peak_memory, start_memory
from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import positive, run_script

OPTIONS = Path(__file__).parents[2] / 'options' / 'track1'
SCALE = 4
PHOTO = (512, 768)  # height, width
BASELINE = "BasicSR's SRGANModel, fp32"
SETTINGS: dict[str, dict[str, Any]] = {
    'fp32': {},
    'fp32, channels last': {'channels_last': True},
    'tf32': {'precision': 'tf32'},
    'bf16': {'precision': 'bf16'},
    'bf16, channels last': {'precision': 'bf16', 'channels_last': True},
    'fp16, channels last': {'precision': 'fp16', 'channels_last': True},
}
COMPILED: dict[str, dict[str, Any]] = {
    'bf16, channels last, compiled': SETTINGS['bf16, channels last'] | {'compile': 'default'},
    'the same, CUDA graphs': SETTINGS['bf16, channels last'] | {'compile': 'reduce-overhead'},
}
# crop and batch of stages 1 and 2
SIZES = {'cuda': ((256, 16), (256, 6)), 'cpu': ((128, 4), (128, 2))}


def main() -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: the GPU if there is one')
    parser.add_argument('--steps', type=positive, default=5, help='timed in each round (default: %(default)s)')
    parser.add_argument('--rounds', type=positive, default=3, help='of all settings (default: %(default)s)')
    parser.add_argument('--gt_size', type=positive, help='side of the HR crops of both stages')
    parser.add_argument('--batch', type=positive, help='crops a step of both stages')
    parser.add_argument('--compile', action='store_true', help='compiled networks too; minutes of compiling each')
    parser.add_argument('--num_block', type=positive, nargs=2, default=[8, 23], help='of both networks (default: 8 23)')
    parser.add_argument('--json', type=Path, help='write the figures to this file too')
    args = parser.parse_args()

    register()
    logging.disable(logging.INFO)  # the description of each network
    torch.backends.cudnn.benchmark = True  # as BasicSR's launcher does
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.files import write_text

    device = pick_device(args.device)
    settings = possible(SETTINGS | COMPILED if args.compile else SETTINGS, device)
    report: dict[str, Any] = {'device': describe(device), 'torch': torch.__version__, 'steps': args.steps}
    print(', '.join(map(str, report.values())))
    for stage, (size, batch) in enumerate(SIZES[device.type], 1):
        size, batch = args.gt_size or size, args.batch or batch
        title = f'stage {stage}, {batch} crops of {size}'
        opt = options(stage, args.num_block[stage - 1], device)
        data = made_batch(batch, size)
        ways: dict[str, Callable[[], Iterator[None]]] = {
            BASELINE: lambda o=opt, d=data, s=stage: steps(srgan(o), as_pairs(d, s))
        }
        for name, chosen in settings.items():
            changed = opt | {'train': opt['train'] | chosen}
            ways[name] = lambda o=changed, d=data: steps(o, d)
        report[title] = measure(title, ways, args, device)
    ways = {
        name: lambda p=name: predictions(args.num_block[0], p, device)
        for name in dict.fromkeys(chosen.get('precision', 'fp32') for chosen in settings.values())
    }
    title = f'generating the LR of a {PHOTO[0]}x{PHOTO[1]} photo'
    report[title] = measure(title, ways, args, device)
    if args.json is not None:
        write_text(args.json, json.dumps(report, indent=2) + '\n')
    return 0


def possible(settings: dict[str, dict[str, Any]], device: torch.device) -> dict[str, dict[str, Any]]:
    """Those that the device can do; says why others are left out."""
    from usrdu_basicsr.utils.errors import InputError
    from usrdu_basicsr.utils.precision import Precision

    kept = {}
    for name, chosen in settings.items():
        try:
            Precision(chosen.get('precision', 'fp32'), device)
            kept[name] = chosen
        except InputError as error:
            print(f'left out: {name}: {error}')
    return kept


def describe(device: torch.device) -> str:
    """The device, in words."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    names = [line for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
    name = names[0].partition(':')[2].strip() if names else platform.processor()
    return f'{name} with {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads'


def options(stage: int, num_block: int, device: torch.device) -> dict[str, Any]:
    """The shipped options of a stage, completed as BasicSR's launcher does."""
    import yaml
    from basicsr.utils.options import ordered_yaml

    text = (OPTIONS / ('train_dsn.yml', 'train_srn.yml')[stage - 1]).read_text()
    opt = yaml.load(text, Loader=ordered_yaml()[0])
    opt['network_g']['num_block'] = num_block
    if stage == 1:
        opt['train']['perceptual_opt']['weights'] = 'random'
    machine = {'num_gpu': int(device.type == 'cuda'), 'dist': False, 'rank': 0, 'world_size': 1}
    return {**opt, **machine, 'is_train': True, 'path': {}}


def made_batch(batch: int, size: int) -> dict[str, torch.Tensor]:
    """A batch that serves both stages."""
    lq = torch.rand(2, batch, 3, size // SCALE, size // SCALE)
    return {'gt': torch.rand(batch, 3, size, size), 'lq': lq[0], 'log_scale': lq[1]}


def as_pairs(data: dict[str, torch.Tensor], stage: int) -> dict[str, torch.Tensor]:
    """The batch as SRGANModel takes it: what goes in is `lq`, what shall come out `gt`."""
    return {'lq': data['gt'], 'gt': data['lq']} if stage == 1 else data


def steps(opt: dict[str, Any], data: dict[str, torch.Tensor]) -> Iterator[None]:
    """Steps of the model of `opt`, one at each `next`."""
    from basicsr.models import build_model

    from usrdu_basicsr.utils.device import device_of
    from usrdu_basicsr.utils.precision import Precision

    Precision('fp32', device_of(opt)).set_tf32()  # for SRGANModel; ours say it themselves
    with patch('basicsr.archs.vgg_arch.vgg.vgg19', random_vgg19):
        model = build_model(opt)
    if opt['model_type'] == 'SRGANModel' and opt['network_g']['type'] == 'UncertaintyDSN':
        forward = model.net_g.forward
        model.net_g.forward = lambda images: forward(images, with_features=False).mean
    current_iter = 0
    while True:
        current_iter += 1
        model.feed_data(data)
        model.optimize_parameters(current_iter)
        yield


def srgan(opt: dict[str, Any]) -> dict[str, Any]:
    """Options of BasicSR's SRGANModel with the same networks and the losses that it knows."""
    srn = options(2, 1, torch.device('cpu'))['train']
    known = {name: srn[name] for name in ('pixel_opt', 'perceptual_opt', 'gan_opt')}
    return deepcopy({**opt, 'model_type': 'SRGANModel', 'train': opt['train'] | known})


def random_vgg19(**_: Any) -> torch.nn.Module:
    """torchvision's, in place of the trained one that BasicSR's perceptual loss would download."""
    from torchvision.models import vgg

    from usrdu_basicsr.losses.vgg_features import VGGFeatures

    with torch.device('meta'):
        network = vgg.VGG(vgg.make_layers(vgg.cfgs['E']))
    network.features.load_state_dict(VGGFeatures(weights='random').layers.state_dict(), strict=False, assign=True)
    return network


def predictions(num_block: int, name: str, device: torch.device) -> Iterator[None]:
    """The mean and the scale of one photo at each `next`, with the published network."""
    from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
    from usrdu_basicsr.inference.generate_lr import predict, prepare_for_inference
    from usrdu_basicsr.utils.precision import Precision

    precision = Precision(name, device)
    network = UncertaintyDSN(num_block=num_block).to(device).eval().requires_grad_(False)
    dsn = prepare_for_inference(network, precision)
    photo = torch.rand(*PHOTO, 3).numpy()
    while True:
        predict(dsn, photo, precision=precision)
        yield


def measure(
    title: str, ways: dict[str, Callable[[], Iterator[None]]], args: argparse.Namespace, device: torch.device
) -> dict[str, dict[str, float]]:
    """Seconds a step and the most memory of each, medians over rounds; prints a table."""
    rounds = [[time_steps(way(), args.steps, device) for way in ways.values()] for _ in range(args.rounds)]
    figures = {}
    print(f'\n{title:34}{"s":>9}{"gain":>8}{"MB":>8}')
    for name, values in zip(ways, zip(*rounds, strict=True), strict=True):
        seconds, memory = (statistics.median(column) for column in zip(*values, strict=True))
        figures[name] = {'seconds': seconds, 'megabytes': memory}
        gain = next(iter(figures.values()))['seconds'] / seconds
        print(f'{name:34}{seconds:9.3f}{gain:7.2f}x{memory:8.0f}', flush=True)
    return figures


def time_steps(run: Iterator[None], count: int, device: torch.device) -> tuple[float, float]:
    """Seconds a step after two that warm up, and the most megabytes since before the first."""
    before = start_memory(device)
    for _ in range(2):
        next(run)
    wait_for(device)
    start = time.perf_counter()
    for _ in range(count):
        next(run)
    wait_for(device)
    return (time.perf_counter() - start) / count, peak_memory(device) - before


def wait_for(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


if __name__ == '__main__':
    run_script(main)
