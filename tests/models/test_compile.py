"""Compiled networks; apart from the other tests of a step, as compiling takes long."""

from __future__ import annotations

import pytest
import torch

from tiny_runs import STAGES, largest_difference, model_of, step


@pytest.mark.parametrize('stage', STAGES)
def test_compiled_networks_learn_the_same(stage, tmp_path):
    batch = STAGES[stage][1]()
    alone = {'perceptual_opt': None}  # which would take another minute to compile
    plain, compiled = (model_of(stage, tmp_path, compile=choice, **alone) for choice in (False, True))
    for model in (plain, compiled):
        step(model, batch)
    assert largest_difference(plain.net_g, compiled.net_g) < 5e-5
    assert list(plain.net_g.state_dict()) == list(compiled.net_g.state_dict())
    compiled.net_g_ema.load_state_dict(plain.net_g_ema.state_dict())
    with torch._dynamo.config.patch(error_on_recompile=True):  # validation images have sizes of their own
        for model in (plain, compiled):
            model.feed_data({name: value[..., :-8, :] for name, value in batch.items()})
            model.test()
    outputs = [model.output.mean if stage == 'dsn' else model.output for model in (plain, compiled)]
    torch.testing.assert_close(*outputs)
