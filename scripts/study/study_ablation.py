"""Ablations of a measured camera: its checkpoint without the kernel, or with white noise."""

from pathlib import Path

import numpy as np
import torch

from usrdu_basicsr.archs.camera_noise import CameraNoise
from usrdu_basicsr.degradation.blur_kernel import hr_kernel
from usrdu_basicsr.inference.calibrate import save_dsn
from usrdu_basicsr.inference.load_network import load_dsn


def write_ablation(checkpoint: Path, output: Path, without: str) -> None:
    """Write the checkpoint of a measured camera without one part.

    Args:
        checkpoint: `net_g_camera.pth`.
        output: Checkpoint to write.
        without: `kernel` for bicubic downsampling, or `correlation` for independent noise of pixels and colours.
    """
    dsn = load_dsn(checkpoint, torch.device('cpu'))
    if without == 'kernel':
        dsn.kernel.copy_(torch.from_numpy(hr_kernel(np.ones((1, 1)), dsn.scale)))
    else:
        noise, white = dsn.camera_noise, CameraNoise()
        noise.taps.copy_(white.taps)
        noise.mix.copy_(white.mix)
        noise.prepare()
    save_dsn(dsn, output)
