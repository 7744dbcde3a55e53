"""Metrics and the architecture that a report shows."""

from pathlib import Path

import pytest
import torch
from torchvision.models import alexnet

from usrdu_basicsr.metrics import perceptual_metrics
from usrdu_basicsr.report.collect import LPIPS, METRICS, _architecture, _metric_functions
from usrdu_basicsr.utils.pretrained_features import cached_weights_path


def test_lpips_is_a_metric_where_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip('torchmetrics')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert _metric_functions(64) == METRICS
    weights = cached_weights_path('alexnet')
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b'corrupt')
    assert _metric_functions(64) == METRICS
    torch.save(alexnet().state_dict(), weights)
    try:
        assert list(_metric_functions(64)) == [*METRICS, LPIPS]
        assert _metric_functions(30) == METRICS
    finally:
        perceptual_metrics._lpips.cache_clear()


def test_architecture_of_a_published_model(tmp_path: Path):
    """Networks of BasicSR have a name in OpenModelDB, those of spandrel their own."""
    architectures = pytest.importorskip('spandrel.architectures.SPAN')
    network = architectures.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2)
    torch.save({'params': network.state_dict()}, tmp_path / 'model.pth')
    assert _architecture('SpandrelArch', tmp_path / 'model.pth') == 'span'
    assert _architecture('RRDBNet', tmp_path / 'model.pth') == 'esrgan'
    assert _architecture('UncertaintyDSN', tmp_path / 'model.pth') == ''
