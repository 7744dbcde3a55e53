"""Training steps of compiled networks, in a separate file because compiling is slow."""

from pathlib import Path

import pytest
import torch._inductor.config
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from tiny_runs import STAGES, largest_difference, step

pytestmark = pytest.mark.slow


class TinyDiscriminator(nn.Module):
    """A convolution with spectral norm, as in BasicSR's U-Net, but with few kernels to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(3, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def tiny_model(stage: str, folder: Path, compile_networks: bool):
    opt = STAGES[stage][0](folder) | {'network_d': {'type': 'TinyDiscriminator'}}
    if stage == 'dsn':
        opt |= {'scale': 1, 'network_g': opt['network_g'] | {'num_block': 0, 'num_feat': 4, 'scale': 1}}
    # Without the VGG network of the perceptual loss, which would take another minute to compile
    opt['train'] |= {'compile': compile_networks, 'perceptual_opt': None}
    torch.manual_seed(1)
    return build_model(opt)


@pytest.mark.parametrize('stage', STAGES)
def test_compiled_networks_equal_uncompiled_networks(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'TinyDiscriminator', TinyDiscriminator)
    torch._dynamo.reset()  # otherwise, the sizes of the other stage become dynamic
    batch = STAGES[stage][1]()
    if stage == 'dsn':
        batch['lq'] = torch.rand_like(batch['gt'])
    plain, compiled = (tiny_model(stage, tmp_path, compile_networks) for compile_networks in (False, True))
    with torch._inductor.config.patch(compile_threads=1):  # compiler processes are slow to start
        for model in (plain, compiled):
            step(model, batch)
    assert largest_difference(plain.net_g, compiled.net_g) < 5e-5
    assert list(plain.net_g.state_dict()) == list(compiled.net_g.state_dict())
    compiled.net_g_ema.load_state_dict(plain.net_g_ema.state_dict())
    with torch._dynamo.config.patch(error_on_recompile=True):  # validation images have various sizes
        for model in (plain, compiled):
            model.feed_data({name: value[..., :-8, :] for name, value in batch.items()})
            model.test()
    outputs = [model.output.mean if stage == 'dsn' else model.output for model in (plain, compiled)]
    torch.testing.assert_close(*outputs)
