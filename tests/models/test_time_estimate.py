"""Logged duration of a training."""

import logging

import pytest
import torch

from usrdu_basicsr.models import time_estimate
from usrdu_basicsr.models.time_estimate import TimeEstimate


@pytest.mark.parametrize(
    ('seconds', 'expected'), [(30, '28.9 days'), (2, '1.9 days'), (0.1, '2.3 hours'), (0.01, '14')]
)
def test_first_iterations_log_the_remaining_time(
    seconds: float, expected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    now = iter([100.0, 100 + seconds, 100 + 9 * seconds])
    monkeypatch.setattr(time_estimate.time, 'perf_counter', lambda: next(now))
    monkeypatch.setattr(time_estimate, 'get_root_logger', logging.getLogger)
    estimate = TimeEstimate(83_333, torch.device('cpu'))
    with caplog.at_level(logging.INFO):
        for current_iter in range(17, 40):
            estimate(current_iter)
    messages = [record.getMessage() for record in caplog.records if record.levelname == 'INFO']
    assert [message.split(':')[0] for message in messages] == ['Iteration 18', 'Iteration 26']
    assert f'{seconds:g} s per iteration, {expected}' in messages[1] and messages[1].endswith(' to 83333.')
    warned = any('would take 28.9 days. Set train: precision' in record.getMessage() for record in caplog.records)
    assert warned == (seconds == 30)
