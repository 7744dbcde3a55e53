"""First picture of a run."""

from pathlib import Path

import numpy as np

from sample_images import sample_image
from usrdu_basicsr.archs.kernel_dsn_arch import KernelDSN
from usrdu_basicsr.fit.preview import SIDE, ZOOM, write_preview
from usrdu_basicsr.inference.calibrate import save_dsn
from usrdu_basicsr.inference.lr_sampler import load_sampler
from usrdu_basicsr.utils.images import read_image, to_8bit, write_png


def test_samples_of_the_network_are_beside_images_of_the_camera(tmp_path: Path):
    """Also where validation pairs of the user have LR images of the camera."""
    dsn = KernelDSN(17, 2).eval()
    dsn.kernel[8, 8] = 1
    save_dsn(dsn, tmp_path / 'dsn.pth')
    hr, camera, pair = (
        sample_image('chelsea', 256, 256),
        sample_image('coffee', 64, 100),
        sample_image('rocket', 128, 128),
    )
    write_png(tmp_path / 'data/validation/HR/1.png', hr)
    write_png(tmp_path / 'data/validation/LR/1.png', pair)
    write_png(tmp_path / 'data/LR/2.png', camera)
    write_preview(tmp_path, tmp_path / 'dsn.pth')
    picture = to_8bit(read_image(tmp_path / 'previews' / 'camera.png'))[::ZOOM, ::ZOOM]
    assert picture.shape == (SIDE, 2 * SIDE, 3)
    assert np.array_equal(picture[:, :SIDE], load_sampler(tmp_path / 'dsn.pth', 'cpu')(hr, seed=0)[0][16:-16, 16:-16])
    assert np.array_equal(picture[:64, SIDE:], camera[:, 2:-2]) and not picture[64:, SIDE:].any()
