"""Rounding errors of a convolution in each number format of each device, against double precision."""

import pytest
import torch
from torch import nn

from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.precision import Precision

# Bounds of the relative error; 8 bits of bf16 are an error of about 2e-3, 11 bits of fp16 and tf32 one of about 3e-4.
ERRORS = {'fp32': (0, 1e-5), 'tf32': (5e-5, 1e-3), 'bf16': (5e-4, 1e-2), 'fp16': (5e-5, 1e-3)}
CASES = [('cpu', 'fp32'), ('cpu', 'bf16'), *(pytest.param('cuda', name, marks=pytest.mark.cuda) for name in ERRORS)]


@pytest.mark.parametrize(('device', 'name'), CASES)
@pytest.mark.usefixtures('bf16_everywhere')
def test_rounding_error_of_a_convolution(device: str, name: str):
    try:
        precision = Precision(name, torch.device(device))
    except InputError as error:
        pytest.skip(str(error))
    precision.set_tf32()
    network, x = nn.Conv2d(64, 64, 3), torch.randn(2, 64, 64, 64)
    with torch.no_grad():
        got = precision.run(network.to(device), x.to(device)).cpu()
        expected = network.cpu().double()(x.double())
    low, high = ERRORS[name]
    assert got.dtype == torch.float32
    assert low <= ((got - expected).norm() / expected.norm()).item() < high
