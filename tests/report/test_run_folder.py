"""What is read from the files of a run."""

import pytest

from usrdu_basicsr.report.run_folder import read_log_line

START = (
    '2026-11-27 07:56:05,271 INFO: [dsn..][epoch:  0, iter:   1,208, lr:(5.000e-04,)] [eta: 0:00:00, time (data): 0.3]'
)


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        (f'{START} l_g_kl: -2.2367e-01 l_g_gan: 8.5437e-01 log_scale: 6.8e-01', (1208, '-2.2367e-01')),
        (f'{START} l_g_pix: 1.5000e-02 l_d_real: 4.8e-01', (1208, '1.5000e-02')),
        (f'{START} l_g_pix: nan', (1208, '')),
        ('INFO: Saving models and training states.', None),
    ],
)
def test_iteration_and_loss_of_a_log_line(line: str, expected: tuple[int, str] | None):
    assert read_log_line(line) == expected
