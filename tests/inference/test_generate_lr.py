"""Generated sets: written, skipped and failed images; tiles compared with the whole image."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sample_images import sample_image, write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.data.uncertainty_paired_dataset import UncertaintyPairedDataset
from usrdu_basicsr.inference.generate_lr import generate_set
from usrdu_basicsr.inference.lr_sampler import LRSampler
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.result_records import ResultRecords

CPU = torch.device('cpu')


def dsn_file(folder: Path, name: str = 'dsn.pth', **options: object) -> Path:
    net = UncertaintyDSN(**{'num_feat': 8, 'num_block': 2, 'scale': 4, **options})
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # every output depends on the image
    torch.save({'params': net.state_dict()}, folder / name)
    return folder / name


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    write_sample_images(tmp_path / 'hr', 2)
    return tmp_path / 'hr'


def modification_times(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob('*.*') if path.suffix != '.json'
    }


def test_generated_set_contains_the_prediction(hr: Path, tmp_path: Path):
    checkpoint = dsn_file(tmp_path)
    report = generate_set(hr, tmp_path / 'set', checkpoint, CPU)
    assert report.written == ['astronaut.png', 'chelsea.png'] and not report.skipped and not report.failed
    net = UncertaintyDSN(num_feat=8, num_block=2)
    net.load_state_dict(torch.load(checkpoint, weights_only=True)['params'])
    x = torch.from_numpy(sample_image()[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        out = net(x)
    lr = cv2.imread(str(tmp_path / 'set' / 'lr' / 'astronaut.png'))[..., ::-1]
    assert lr.shape == (24, 28, 3)
    expected = (out.mean[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()
    assert np.abs(lr - expected).max() <= 0.5 + 1e-3
    log_scale = np.load(tmp_path / 'set' / 'log_scale' / 'astronaut.npy')
    assert log_scale.dtype == np.float16
    np.testing.assert_allclose(log_scale, out.log_scale[0].permute(1, 2, 0).numpy(), rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / 'set' / 'generation.json').read_text()) == {
        'checkpoint': 'dsn.pth',
        'checkpoint_sha256': hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        'scale': 4,
        'network': {
            'num_in_ch': 3,
            'num_out_ch': 3,
            'num_feat': 8,
            'num_block': 2,
            'scale': 4,
            'residual': False,
            'kernel_size': 0,
            'calibrated': False,
        },
        'precision': 'fp32',
        'version': '0.1.0',
        'count': 2,
    }
    opt = {'dataroot_gt': hr, 'dataroot_lq': tmp_path / 'set/lr', 'dataroot_log_scale': tmp_path / 'set/log_scale'}
    assert len(UncertaintyPairedDataset(opt | {'scale': 4, 'phase': 'train', 'gt_size': 64})) == 2
    with pytest.raises(InputError, match='got scale 4, expected 2'):
        UncertaintyPairedDataset(opt | {'scale': 2, 'phase': 'train', 'gt_size': 64})


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('residual', [False, True])
@pytest.mark.parametrize('tile', [16, 30, 64])
def test_tiles_equal_the_whole_image(tmp_path: Path, scale: int, residual: bool, tile: int):
    checkpoint = dsn_file(tmp_path, num_block=1, scale=scale, residual=residual)
    net = UncertaintyDSN(num_feat=8, num_block=1, scale=scale, residual=residual).eval()
    net.load_state_dict(torch.load(checkpoint, weights_only=True)['params'])
    image = sample_image('coffee', 132, 100).astype(np.float32) / 255
    sampler = LRSampler(net)
    whole, tiled = sampler.predict(image, tile=1000), sampler.predict(image, tile=tile)
    for one, other in zip(whole, tiled, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_second_run_completes_the_first(hr: Path, tmp_path: Path):
    checkpoint, output = dsn_file(tmp_path), tmp_path / 'set'
    generate_set(hr, output, checkpoint, CPU)
    before = modification_times(output)
    assert generate_set(hr, output, checkpoint, CPU).skipped == ['astronaut.png', 'chelsea.png']
    assert modification_times(output) == before

    lr, log_scale = output / 'lr' / 'chelsea.png', output / 'log_scale' / 'chelsea.npy'
    originals = lr.read_bytes(), log_scale.read_bytes()
    for path, damage in (
        (lr, lambda p: p.unlink()),
        (lr, lambda p: p.write_bytes(p.read_bytes()[:-20])),
        (lr, lambda p: p.write_bytes(b'')),
        (log_scale, lambda p: p.unlink()),
        (log_scale, lambda p: p.write_bytes(p.read_bytes()[:-20])),
        (log_scale, lambda p: np.save(p, np.zeros((3, 3, 3)))),
    ):
        damage(path)
        report = generate_set(hr, output, checkpoint, CPU)
        assert report.written == ['chelsea.png'] and report.skipped == ['astronaut.png']
        assert (lr.read_bytes(), log_scale.read_bytes()) == originals
    assert not list(output.rglob('*.tmp'))


def test_replaced_images_are_generated_again(hr: Path, tmp_path: Path):
    """Also by an older file of the same size, as from a backup: uncompressed files of two images."""
    checkpoint, output = dsn_file(tmp_path), tmp_path / 'set'
    for path in hr.iterdir():
        cv2.imwrite(str(path.with_suffix('.bmp')), cv2.imread(str(path)))
        path.unlink()
    generate_set(hr, output, checkpoint, CPU)
    other = hr / 'astronaut.bmp'
    (hr / 'chelsea.bmp').write_bytes(other.read_bytes())
    os.utime(hr / 'chelsea.bmp', (1000, 1000))
    assert generate_set(hr, output, checkpoint, CPU).written == ['chelsea.bmp']
    assert (output / 'lr/chelsea.png').read_bytes() == (output / 'lr/astronaut.png').read_bytes()
    (output / '.results.jsonl').write_text('{"result": "astronaut", "by')  # cut by a full disk
    assert len(generate_set(hr, output, checkpoint, CPU).written) == 2
    assert len(generate_set(hr, output, checkpoint, CPU).skipped) == 2
    (hr / 'chelsea.bmp').write_bytes(b'no image')
    assert generate_set(hr, output, checkpoint, CPU).failed == ['chelsea.bmp']
    assert [path.name for path in (output / 'lr').iterdir()] == ['astronaut.png']


def test_results_of_removed_images_are_named(hr: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    checkpoint, output = dsn_file(tmp_path), tmp_path / 'set'
    generate_set(hr, output, checkpoint, CPU)
    assert 'does not have' not in caplog.text
    (hr / 'chelsea.png').unlink()
    generate_set(hr, output, checkpoint, CPU)
    assert f"also has results of images that '{hr}' does not have: 'chelsea'. Remove them" in caplog.text


def test_kill_between_result_and_record(hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The image is replaced, its result is written but not recorded, and the image is restored."""
    checkpoint, output = dsn_file(tmp_path), tmp_path / 'set'
    generate_set(hr, output, checkpoint, CPU)
    expected = (output / 'lr/chelsea.png').read_bytes()
    shutil.copy2(hr / 'chelsea.png', tmp_path / 'original.png')
    shutil.copy2(hr / 'astronaut.png', hr / 'chelsea.png')
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ResultRecords, 'add', mock.Mock(side_effect=KeyboardInterrupt))
        generate_set(hr, output, checkpoint, CPU)
    assert (output / 'lr/chelsea.png').read_bytes() != expected
    shutil.copy2(tmp_path / 'original.png', hr / 'chelsea.png')
    assert generate_set(hr, output, checkpoint, CPU).written == ['chelsea.png']
    assert (output / 'lr/chelsea.png').read_bytes() == expected


@pytest.mark.parametrize('output', ['hr', 'hr/../hr', '.'])
def test_results_do_not_mix_with_the_input(tmp_path: Path, output: str):
    folder = tmp_path / ('lr' if output == '.' else 'hr')
    write_sample_images(folder, 2)
    with pytest.raises(InputError, match='would be mixed with the input folder'):
        generate_set(folder, tmp_path / output, dsn_file(tmp_path), CPU)
    assert len(list(folder.iterdir())) == 2


def test_unreadable_log_scales_are_never_written(hr: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    checkpoint, output = dsn_file(tmp_path), tmp_path / 'set'
    for value in (1e5, np.nan):  # too large for float16; diverged
        state = torch.load(dsn_file(tmp_path), weights_only=True)
        state['params']['log_scale_head.4.bias'] += value
        torch.save(state, tmp_path / 'diverged.pth')
        assert len(generate_set(hr, tmp_path / 'diverged', tmp_path / 'diverged.pth', CPU).failed) == 2
        assert "astronaut.png': the DSN predicts non-finite values" in caplog.text
        assert not list((tmp_path / 'diverged').rglob('*.np*'))
        shutil.rmtree(tmp_path / 'diverged')
    generate_set(hr, output, checkpoint, CPU)
    path = output / 'log_scale' / 'chelsea.npy'
    np.save(path, np.full((24, 28, 3), np.inf, np.float16))  # as an earlier version wrote it
    assert generate_set(hr, output, checkpoint, CPU).written == ['chelsea.png'] and np.isfinite(np.load(path)).all()


def test_cropping_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_sample_images(tmp_path / 'hr', 3, 99, 113)
    with caplog.at_level('WARNING'):
        generate_set(tmp_path / 'hr', tmp_path / 'set', dsn_file(tmp_path), CPU)
    assert cv2.imread(str(tmp_path / 'set/lr/coffee.png')).shape == (24, 28, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "Cropped images to a multiple of scale 4, first 'astronaut.png'"
    ]


def test_image_modes_have_no_influence(tmp_path: Path):
    """Images of other modes give the same result as the RGB image with the same colours."""
    folder = tmp_path / 'hr'
    folder.mkdir()
    rgb = sample_image()[..., ::-1]
    gray = np.asarray(Image.fromarray(rgb).convert('L'))
    Image.fromarray(rgb).save(folder / 'rgb.png')
    alpha = np.concatenate([rgb, np.full_like(rgb[..., :1], 9)], 2)
    Image.fromarray(alpha).save(folder / 'rgba.png')
    cv2.imwrite(str(folder / 'deep.png'), rgb[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(gray).save(folder / 'gray.png')
    Image.fromarray(np.repeat(gray[..., None], 3, 2)).save(folder / 'gray_rgb.png')
    Image.fromarray(rgb).quantize(32).save(folder / 'palette.png')
    Image.fromarray(rgb).quantize(32).convert('RGB').save(folder / 'palette_rgb.png')
    report = generate_set(folder, tmp_path / 'set', dsn_file(tmp_path), CPU)
    assert len(report.written) == 7

    def result(name: str) -> np.ndarray:
        return np.load(tmp_path / 'set' / 'log_scale' / f'{name}.npy')

    for name, plain in (('rgba', 'rgb'), ('gray', 'gray_rgb'), ('palette', 'palette_rgb')):
        np.testing.assert_array_equal(result(name), result(plain))
    np.testing.assert_allclose(result('deep'), result('rgb'), atol=2e-3)


def test_unreadable_files_are_reported_and_skipped(hr: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (hr / 'broken.png').write_bytes((hr / 'chelsea.png').read_bytes()[:3000])
    (hr / 'empty.jpg').touch()
    cv2.imwrite(str(hr / 'tiny.png'), sample_image(height=3, width=9))
    report = generate_set(hr, tmp_path / 'set', dsn_file(tmp_path), CPU)
    assert report.written == ['astronaut.png', 'chelsea.png']
    assert report.failed == ['broken.png', 'empty.jpg', 'tiny.png']
    text = caplog.text
    assert 'broken.png' in text and 'empty.jpg' in text and 'tiny.png' in text
    assert sorted(path.name for path in (tmp_path / 'set' / 'lr').iterdir()) == ['astronaut.png', 'chelsea.png']


@pytest.mark.usefixtures('bf16_everywhere')
def test_bf16_differs_by_a_fraction_of_a_gray_level(hr: Path, tmp_path: Path):
    checkpoint = dsn_file(tmp_path, num_feat=16)
    sets = {name: tmp_path / name for name in ('fp32', 'bf16')}
    for name, folder in sets.items():
        generate_set(hr, folder, checkpoint, CPU, precision=name)
        assert json.loads((folder / 'generation.json').read_text())['precision'] == name
    lr = [cv2.imread(str(folder / 'lr/astronaut.png')).astype(int) for folder in sets.values()]
    log_scale = [np.load(folder / 'log_scale/astronaut.npy').astype(float) for folder in sets.values()]
    assert 0 < np.abs(lr[0] - lr[1]).mean() < 0.3 and np.abs(lr[0] - lr[1]).max() <= 2
    assert 0 < np.abs(log_scale[0] - log_scale[1]).max() < 0.05
    with pytest.raises(InputError, match=r'was generated with precision bf16, not fp32\. Use --precision bf16'):
        generate_set(hr, sets['bf16'], checkpoint, CPU)


def test_existing_set_of_another_checkpoint_is_rejected(hr: Path, tmp_path: Path):
    generate_set(hr, tmp_path / 'set', dsn_file(tmp_path), CPU)
    with pytest.raises(InputError, match='generated with another checkpoint'):
        generate_set(hr, tmp_path / 'set', dsn_file(tmp_path, 'other.pth'), CPU)
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='is a file, expected a folder'):
        generate_set(hr, tmp_path / 'file' / 'set', dsn_file(tmp_path), CPU)
    write_sample_images(tmp_path / 'own' / 'lr', 1)
    with pytest.raises(InputError, match=r'has files but no generation\.json'):
        generate_set(hr, tmp_path / 'own', dsn_file(tmp_path), CPU)


def test_images_with_the_same_stem_are_rejected(hr: Path, tmp_path: Path):
    write_sample_images(hr, 1, extension='jpg')
    with pytest.raises(InputError, match=r'astronaut\.jpg. and .*astronaut\.png. would share a name'):
        generate_set(hr, tmp_path / 'set', dsn_file(tmp_path), CPU)
    assert not (tmp_path / 'set').exists()


def test_checkpoint_of_another_network_is_rejected(hr: Path, tmp_path: Path):
    torch.save({'params': {'body.0.weight': torch.zeros(1)}}, tmp_path / 'sr.pth')
    with pytest.raises(InputError, match='is not an UncertaintyDSN'):
        generate_set(hr, tmp_path / 'set', tmp_path / 'sr.pth', CPU)
    assert not (tmp_path / 'set').exists()
