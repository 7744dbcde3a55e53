"""Time and memory of a training step: BasicSR's SRGANModel, and both stages in each setting that the device supports.

All run in turn in one process, with the networks and losses of options/track1 (VGG's weights are random, at the same
cost). For stage 1 SRGANModel trains the mean of the same downsampling network. Default sizes are the published ones on
a GPU; on a CPU stage 1 takes 4 patches of 128 pixels, stage 2 takes 2.
"""

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from machine import device_name, supported
from peak_memory import peak_memory, start_memory
from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import positive, run_script

OPTIONS = Path(__file__).parents[2] / 'options' / 'track1'
SCALE = 4
BASELINE = "BasicSR's SRGANModel, fp32"
LOWERED = {'precision': 'bf16', 'channels_last': True}
# The most important ones come first: on a GPU the time of a report may end before the last ones.
SETTINGS: dict[str, dict[str, Any]] = {
    'fp32': {},
    'bf16, channels last': LOWERED,
    'bf16, channels last, compiled': LOWERED | {'compile': 'default'},
    'the same, CUDA graphs': LOWERED | {'compile': 'reduce-overhead'},
    'bf16': {'precision': 'bf16'},
    'fp16, channels last': {'precision': 'fp16', 'channels_last': True},
    'tf32': {'precision': 'tf32'},
    'fp32, channels last': {'channels_last': True},
}
Figures = dict[str, dict[str, float]]  # seconds and megabytes by variant
# patch size and batch size of stages 1 and 2
SIZES = {'cuda': ((256, 16), (256, 6)), 'cpu': ((128, 4), (128, 2))}
WARM_UP = {'cuda': 5, 'cpu': 2}  # steps that are not timed; CUDA graphs are recorded within the first ones


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='device (default: the GPU if available)')
    parser.add_argument('--steps', type=positive, default=5, help='timed steps per round (default: %(default)s)')
    parser.add_argument('--rounds', type=positive, default=3, help='rounds over all settings (default: %(default)s)')
    parser.add_argument('--gt_size', type=positive, help='side of the HR patches of both stages')
    parser.add_argument('--batch', type=positive, help='batch size of both stages')
    parser.add_argument('--compile', action='store_true', help='measure compiled networks as well (minutes each)')
    parser.add_argument(
        '--num_block', type=positive, nargs=2, default=[8, 23], help='blocks of DSN and SRN (default: 8 23)'
    )
    parser.add_argument(
        '--image_size', type=positive, nargs=2, default=[512, 768], help='HR height and width (default: 512 768)'
    )
    parser.add_argument('--json', type=Path, help='JSON file of the results, written after each measurement')
    args = parser.parse_args()

    register()
    logging.disable(logging.INFO)  # the summary of each network
    torch.backends.cudnn.benchmark = True  # as BasicSR's launcher does
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.files import write_text

    device = pick_device(args.device)
    settings = {name: chosen for name, chosen in SETTINGS.items() if args.compile or 'compile' not in chosen}
    precisions = supported((chosen.get('precision', 'fp32') for chosen in settings.values()), device)
    settings = {name: chosen for name, chosen in settings.items() if chosen.get('precision', 'fp32') in precisions}
    report: dict[str, Any] = {'device': device_name(device), 'torch': torch.__version__, 'steps': args.steps}
    print(', '.join(map(str, report.values())))

    def save(title: str, figures: Figures) -> None:
        report[title] = figures
        if args.json is not None:
            write_text(args.json, json.dumps(report, indent=2) + '\n')

    for stage, (size, batch) in enumerate(SIZES[device.type], 1):
        size, batch = args.gt_size or size, args.batch or batch
        title = f'stage {stage}, {batch} patches of {size}'
        opt = options(stage, args.num_block[stage - 1], device)
        data = random_batch(batch, size)
        variants: dict[str, Callable[[], Iterator[None]]] = {
            BASELINE: lambda o=opt, d=data, s=stage: steps(srgan(o), as_pairs(d, s))
        }
        for name, chosen in settings.items():
            changed = opt | {'train': opt['train'] | chosen}
            variants[name] = lambda o=changed, d=data: steps(o, d)
        measure(title, variants, args, device, save)
    variants = {name: lambda p=name: predictions(args.num_block[0], p, args.image_size, device) for name in precisions}
    measure(f'generating LR of {"x".join(map(str, args.image_size))}', variants, args, device, save)
    return 0


def options(stage: int, num_block: int, device: torch.device) -> dict[str, Any]:
    """Read the shipped options of a stage, with the keys that BasicSR's launcher adds."""
    import yaml
    from basicsr.utils.options import ordered_yaml

    text = (OPTIONS / ('train_dsn.yml', 'train_srn.yml')[stage - 1]).read_text()
    opt = yaml.load(text, Loader=ordered_yaml()[0])
    opt['network_g']['num_block'] = num_block
    if stage == 1:
        opt['train']['perceptual_opt']['weights'] = 'random'
    machine = {'num_gpu': int(device.type == 'cuda'), 'dist': False, 'rank': 0, 'world_size': 1}
    return {**opt, **machine, 'is_train': True, 'path': {}}


def random_batch(batch: int, size: int) -> dict[str, torch.Tensor]:
    """Make a batch for both stages."""
    lq = torch.rand(2, batch, 3, size // SCALE, size // SCALE)
    return {'gt': torch.rand(batch, 3, size, size), 'lq': lq[0], 'log_scale': lq[1]}


def as_pairs(data: dict[str, torch.Tensor], stage: int) -> dict[str, torch.Tensor]:
    """Rename the batch for SRGANModel: `lq` is the input, `gt` the target."""
    return {'lq': data['gt'], 'gt': data['lq']} if stage == 1 else data


def steps(opt: dict[str, Any], data: dict[str, torch.Tensor]) -> Iterator[None]:
    """Run one training step of the model of `opt` at each `next`."""
    from basicsr.models import build_model

    from usrdu_basicsr.utils.device import training_device
    from usrdu_basicsr.utils.precision import Precision

    if opt['train'].get('compile'):
        torch.compiler.reset()  # frees the graphs of the previous setting
    Precision('fp32', training_device(opt)).set_tf32()  # for SRGANModel; the models of this package set it themselves
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
    """Options of BasicSR's SRGANModel with the same networks and the losses that it supports."""
    srn = options(2, 1, torch.device('cpu'))['train']
    supported_losses = {name: srn[name] for name in ('pixel_opt', 'perceptual_opt', 'gan_opt')}
    return deepcopy({**opt, 'model_type': 'SRGANModel', 'train': opt['train'] | supported_losses})


def random_vgg19(**_: Any) -> torch.nn.Module:
    """VGG19 with random weights instead of those that BasicSR's perceptual loss would download."""
    from torchvision.models import vgg

    from usrdu_basicsr.losses.vgg_features import VGGFeatures

    with torch.device('meta'):
        network = vgg.VGG(vgg.make_layers(vgg.cfgs['E']))
    network.features.load_state_dict(VGGFeatures(weights='random').layers.state_dict(), strict=False, assign=True)
    return network


def predictions(num_block: int, name: str, size: list[int], device: torch.device) -> Iterator[None]:
    """Predict the mean and log-scale of one image at each `next`, with the published network."""
    from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
    from usrdu_basicsr.inference.lr_sampler import LRSampler
    from usrdu_basicsr.utils.precision import Precision

    network = UncertaintyDSN(num_block=num_block).to(device).eval().requires_grad_(False)
    sampler = LRSampler(network, Precision(name, device))
    image = torch.rand(*size, 3).numpy()
    while True:
        sampler.predict(image)
        yield


def measure(
    title: str,
    variants: dict[str, Callable[[], Iterator[None]]],
    args: argparse.Namespace,
    device: torch.device,
    save: Callable[[str, Figures], None],
) -> None:
    """Save and print seconds per step and peak memory, medians over rounds. The table is printed at the end."""
    figures: Figures = {}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, variant in variants.items():
            samples[name].append(time_steps(variant(), args.steps, device))
            seconds, memory = map(statistics.median, zip(*samples[name], strict=True))
            figures[name] = {'seconds': seconds, 'megabytes': memory}
            save(title, figures)
    print(f'\n{title:34}{"s":>9}{"gain":>8}{"MB":>8}')
    first = next(iter(figures.values()))['seconds']
    for name, values in figures.items():
        seconds = values['seconds']
        print(f'{name:34}{seconds:9.3f}{first / seconds:7.2f}x{values["megabytes"]:8.0f}', flush=True)


def time_steps(run: Iterator[None], count: int, device: torch.device) -> tuple[float, float]:
    """Return the seconds per step after warm-up steps, and the peak memory in megabytes from the first on."""
    before = start_memory(device)
    for _ in range(WARM_UP[device.type]):
        next(run)
    wait_for(device)
    start = time.perf_counter()
    for _ in range(count):
        next(run)
    wait_for(device)
    return (time.perf_counter() - start) / count, peak_memory(device) - before


def wait_for(device: torch.device) -> None:
    """Synchronize with a GPU."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


if __name__ == '__main__':
    run_script(main)
