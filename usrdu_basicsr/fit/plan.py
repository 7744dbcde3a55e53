"""Plan of a run: what it will do, and how long each step takes."""

import math
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch

from usrdu_basicsr.fit.dataset import CAMERA_IMAGES, HELD_BACK_SIDE, VALIDATION_SIDE, megabytes, sub_image_count
from usrdu_basicsr.fit.network import BATCH, GT_SIZE, Network, Step
from usrdu_basicsr.fit.options_files import Schedule
from usrdu_basicsr.fit.request import Request, duration
from usrdu_basicsr.fit.selection import THREADS, Selection
from usrdu_basicsr.utils.errors import InputError

# Seconds on one core of an AMD EPYC, which the training's share of the time adapts to
CAMERA_SECONDS = 8.0, 0.08  # of `usrdu camera`, and of each image that it measures
DATA_SECONDS = 0.06  # of decoding and cropping a megabyte of image files
GENERATE_SECONDS = 4.0, 0.015  # of `usrdu generate`, and of each sub-image
FINISH_SECONDS = 20.0  # of upscaling, export and report, and the network's time in addition
FORWARD_SHARE = 0.5  # of a training step, for upscaling in larger tiles
OVERHEAD = 2.0  # of loading, sampling, losses and averaging, relative to a step of the network
STAGE_1_SHARE = 0.4  # of the time of training, with preset published
MIN_ITERATIONS = 100


@dataclass(frozen=True)
class Plan:
    """Settings and expected times of a run.

    Attributes:
        request: Arguments.
        selection: Images.
        network: SR network.
        step: Training step as measured.
        device: Device of training.
        seconds: Expected time of the steps, by name.
        remaining: Names of the steps that are not finished.
        spent: Time that was spent, on finished steps, too.
    """

    request: Request
    selection: Selection
    network: Network
    step: Step
    device: torch.device
    seconds: dict[str, float]
    remaining: Collection[str]
    spent: float

    @property
    def iteration_seconds(self) -> float:
        """Expected time of an iteration of stage 2."""
        return OVERHEAD * self.step.seconds

    def rows(self) -> Iterator[tuple[str, str]]:
        """Rows of the table that is printed before the run starts."""
        images, scale = self.selection, self.request.scale
        pairs = f'{len(images.val_hr)} pairs' if images.val_lr else f'{len(images.val_hr)} HR images'
        yield (
            'images',
            f'{len(images.hr)} HR, {len(images.lr)} LR, validation on {pairs}, {len(images.held_back)} LR held back',
        )
        yield 'scale', str(scale)
        place = torch.cuda.get_device_name(self.device) if self.device.type == 'cuda' else f'{os.cpu_count()} CPU cores'
        yield 'device', f'{place}, {self.step.precision}'
        size = f'{BATCH} patches of {GT_SIZE[scale]} HR pixels'
        if self.step.accum_iter > 1:
            size += f' in {self.step.accum_iter} micro-batches'
        yield 'network', f'{self.network.options["type"]}, learning rate {self.network.learning_rate:g}, {size}'
        seconds = {step: seconds for step, seconds in self.seconds.items() if step in self.remaining}
        if 'training' in seconds:
            iterations = Schedule.of(seconds['training'] / self.iteration_seconds).total_iter
            yield 'iterations', f'about {iterations:,} of {self.iteration_seconds:.2g} s'
        yield 'time', ', '.join(f'{step.replace("_", " ")} {duration(each)}' for step, each in seconds.items())
        yield 'all', duration(self.spent + sum(seconds.values()))


def make_plan(
    request: Request,
    selection: Selection,
    network: Network,
    step: Step,
    device: torch.device,
    remaining: Collection[str],
    spent: float,
    is_resumed: bool,
) -> Plan:
    """Plan the time of a run.

    Args:
        request: Arguments.
        selection: Images.
        network: SR network.
        step: Training step as measured.
        device: Device of training.
        remaining: See `Plan`.
        spent: See `Plan`.
        is_resumed: Whether the training gets the time that is left, however short.

    Raises:
        InputError: If the promised time is too short for a training.
    """
    measured = min(CAMERA_IMAGES, len(selection.lr)) + CAMERA_IMAGES
    size = megabytes(selection, sub_image_count(request.seconds))
    seconds = {
        'data': DATA_SECONDS * size / min(THREADS, os.cpu_count() or 1),
        'camera': CAMERA_SECONDS[0] + CAMERA_SECONDS[1] * measured,
        'generate': GENERATE_SECONDS[0] + GENERATE_SECONDS[1] * sub_image_count(request.seconds),
    }
    pixels = (
        len(selection.held_back) * HELD_BACK_SIDE**2 + len(selection.val_hr) * (VALIDATION_SIDE // request.scale) ** 2
    )
    pixel_seconds = FORWARD_SHARE * step.seconds / (BATCH * (GT_SIZE[request.scale] // request.scale) ** 2)
    finish = FINISH_SECONDS + pixels * pixel_seconds
    left = request.seconds - spent - finish - sum(each for name, each in seconds.items() if name in remaining)
    needed = MIN_ITERATIONS * OVERHEAD * step.seconds
    if left < needed and not is_resumed:
        least = math.ceil(request.seconds - left + needed)
        raise InputError(f'--time: got {request.seconds:.0f}s, expected at least {least}s on this machine')
    left = max(left, 0)
    if request.preset == 'published' and 'stage_1' in remaining:
        seconds['stage_1'] = STAGE_1_SHARE * left
        left -= seconds['stage_1']
    seconds |= {'training': left, 'results': finish}
    return Plan(request, selection, network, step, device, seconds, remaining, spent)
