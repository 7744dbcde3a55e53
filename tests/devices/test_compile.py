"""Training steps of compiled networks, in a separate file because compiling is slow.

On a GPU whole networks are compiled, each also as CUDA graphs, which replay a step from the third one on.
"""

from pathlib import Path

import pytest
import torch._inductor.config
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from tiny_runs import STAGES, step

pytestmark = pytest.mark.slow
STEPS = 5
MODES = [
    ('cpu', True),
    *(pytest.param('cuda', mode, marks=pytest.mark.cuda) for mode in ('default', 'reduce-overhead')),
]


class TinyDiscriminator(nn.Module):
    """A convolution with spectral norm, as in BasicSR's U-Net, but with few kernels to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(3, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def model_on(device: str, stage: str, folder: Path, mode: bool | str):
    opt = STAGES[stage][0](folder) | {'num_gpu': int(device == 'cuda')}
    opt['train']['compile'] = mode
    if device == 'cpu':  # the compiler takes minutes for the U-Net and VGG
        opt['network_d'] = {'type': 'TinyDiscriminator'}
        opt['train']['perceptual_opt'] = None
        if stage == 'dsn':
            opt |= {'scale': 1, 'network_g': opt['network_g'] | {'num_block': 0, 'num_feat': 4, 'scale': 1}}
    torch.manual_seed(1)
    return build_model(opt)


def flat_weights(net: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize(('device', 'mode'), MODES)
def test_compiled_networks_equal_uncompiled_networks(
    device: str, mode: bool | str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'TinyDiscriminator', TinyDiscriminator)
    torch._dynamo.reset()  # otherwise, the sizes of the other stage become dynamic
    batches = [STAGES[stage][1]() for _ in range(STEPS)]
    if device == 'cpu' and stage == 'dsn':  # scale 1
        for batch in batches:
            batch['lq'] = torch.rand_like(batch['gt'])
    plain, compiled = (model_on(device, stage, tmp_path, each) for each in (False, mode))
    initial = flat_weights(plain.net_g)
    with torch._inductor.config.patch(compile_threads=1 if device == 'cpu' else torch._inductor.config.compile_threads):
        for current_iter, batch in enumerate(batches, 1):
            expected = step(plain, batch, current_iter)
            assert step(compiled, batch, current_iter) == pytest.approx(expected, rel=0.01, abs=1e-6)
    update, expected_update = flat_weights(compiled.net_g) - initial, flat_weights(plain.net_g) - initial
    # Adam turns rounding into steps where gradients are small
    assert (update - expected_update).norm() < 0.02 * expected_update.norm()
    assert list(plain.net_g.state_dict()) == list(compiled.net_g.state_dict())
    compiled.net_g_ema.load_state_dict(plain.net_g_ema.state_dict())
    with torch._dynamo.config.patch(error_on_recompile=True):  # validation images have various sizes
        for model in (plain, compiled):
            model.feed_data({name: value[..., :-8, :] for name, value in batch.items()})
            model.test()
    outputs = [model.output.mean if stage == 'dsn' else model.output for model in (plain, compiled)]
    torch.testing.assert_close(*outputs)
