"""Compiled networks, apart from the other tests of a step because compiling takes long."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from tiny_runs import STAGES, largest_difference, step


class TinyDiscriminator(nn.Module):
    """Spectral norm and an activation, as in BasicSR's U-Net, in few kernels to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
        self.last = nn.Conv2d(4, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(nn.functional.leaky_relu(self.conv(x), 0.2))


def tiny_model(stage: str, folder: Path, compile_networks: bool):
    opt = STAGES[stage][0](folder)
    opt['network_d'] = {'type': 'TinyDiscriminator'}
    if stage == 'dsn':
        opt['network_g'] = opt['network_g'] | {'num_block': 0, 'num_feat': 4}
        opt['train']['perceptual_opt'] = None  # the VGG network would take another minute to compile
    opt['train']['compile'] = compile_networks
    torch.manual_seed(1)
    return build_model(opt)


@pytest.mark.parametrize('stage', STAGES)
def test_compiled_networks_learn_the_same(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'TinyDiscriminator', TinyDiscriminator)
    torch._dynamo.reset()
    batch = STAGES[stage][1]()
    plain, compiled = (tiny_model(stage, tmp_path, compile_networks) for compile_networks in (False, True))
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
