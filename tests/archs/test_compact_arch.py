import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from skimage import data
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from usrdu_basicsr.archs.compact_arch import IdentitySRVGGNetCompact

SIZE = {'num_feat': 32, 'num_conv': 16, 'upscale': 4}


@pytest.mark.parametrize('upscale', [1, 2, 4])
def test_starts_as_nearest_upscaling(upscale: int):
    net, x = IdentitySRVGGNetCompact(8, 3, upscale), torch.rand(2, 3, 6, 7)
    assert torch.equal(net(x), interpolate(x, scale_factor=upscale, mode='nearest'))
    features = net.body[1](net.body[0](x))
    assert torch.allclose(net.body[4](features), features)


def test_weights_are_those_of_srvggnetcompact():
    SRVGGNetCompact(**SIZE).load_state_dict(IdentitySRVGGNetCompact(**SIZE).state_dict())


@pytest.mark.parametrize(('function', 'learns'), [(IdentitySRVGGNetCompact, True), (SRVGGNetCompact, False)])
def test_deep_network_learns_within_few_iterations(function: type[nn.Module], learns: bool):
    torch.manual_seed(0)
    net = function(**SIZE)
    gt = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None, :, :384, :384] / 255
    gt = torch.cat([patch for row in gt.split(96, 2) for patch in row.split(96, 3)])[:8]
    lq = avg_pool2d(gt, 4)
    nearest = (interpolate(lq, scale_factor=4) - gt).square().mean()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        (net(lq) - gt).abs().mean().backward()
        optimizer.step()
    with torch.no_grad():
        gain = 10 * torch.log10(nearest / (net(lq) - gt).square().mean()).item()
    assert (gain > 0.5) is learns, gain
