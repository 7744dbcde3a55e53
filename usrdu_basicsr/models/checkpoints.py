"""Write the checkpoints of a training, resume from them, and remove old ones."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from usrdu_basicsr.utils.checkpoint import training_states, write_checkpoint
from usrdu_basicsr.utils.errors import InputError, first_line

SCHEDULER_PROGRESS = ('last_epoch', '_step_count', '_last_lr')  # attributes that are resumed
# Parameters of optimizers that the options determine, not the training state
FROM_OPTIONS = ('fused', 'foreach', 'betas', 'eps', 'weight_decay')


def save_checkpoint(model: Any, epoch: int, current_iter: int) -> None:
    """Write `models/net_*_ITERATION.pth` and `training_states/ITERATION.state` of a `USRDUBaseModel`.

    The training state is written last, so that each state has its networks. It contains no random state: random numbers
    depend on the seed, the rank and the iteration only. At the end of the training, iteration -1, only the networks
    `net_*_latest.pth` are written.

    Raises:
        WriteError: If a file cannot be written. The previous checkpoint is unchanged.
    """
    is_last = current_iter == -1
    models, states = (Path(model.opt['path'][key]) for key in ('models', 'training_states'))
    state_path = states / f'{current_iter}.state'
    if not is_last:  # an existing state of this iteration is of another training and must not get these networks
        state_path.unlink(missing_ok=True)
    networks = {'net_g': {'params': model.net_g}}
    if model.ema_decay > 0:
        networks['net_g']['params_ema'] = model.net_g_ema
    if model.net_d is not None:
        networks['net_d'] = {'params': model.net_d}
    for label, nets in networks.items():
        content = {key: _weights(model.get_bare_model(net)) for key, net in nets.items()}
        write_checkpoint(models / f'{label}_{"latest" if is_last else current_iter}.pth', content)
    if not is_last:
        state: dict[str, Any] = {name: model.opt[name] for name in ('model_type', 'manual_seed')}
        state |= {'epoch': epoch, 'iter': current_iter}
        for name in ('optimizers', 'schedulers', 'optimizer_steps'):
            state[name] = [each.state_dict() for each in getattr(model, name)]
        write_checkpoint(state_path, state)


def _weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu().contiguous() for name, value in net.state_dict().items()}


def load_training_state(model: Any, state: Mapping[str, Any]) -> None:
    """Load a training state, which may be of another device, precision, implementation of Adam or memory format.

    The learning rate and its schedule are those of the options from the iteration of the state on.

    Raises:
        InputError: If one of state and run has a discriminator and the other has none, or trains other parameters.
    """
    if len(state['optimizers']) != len(model.optimizers):
        raise InputError(
            f'cannot resume: got {len(state["optimizers"])} optimizers in the training state, expected'
            f' {len(model.optimizers)}. Either the training state or this run has no discriminator (network_d)'
        )
    for optimizer, saved in zip(model.optimizers, state['optimizers'], strict=True):
        # Before loading, because `fused` determines the device of the loaded step counts
        options = {key: optimizer.defaults[key] for key in FROM_OPTIONS}
        try:
            optimizer.load_state_dict({**saved, 'param_groups': [g | options for g in saved['param_groups']]})
        except ValueError as error:
            raise InputError(
                f'cannot resume: the training state has other parameters ({first_line(error)}). Did this run add or'
                ' remove perceptual_opt, or change its network?'
            ) from error
        lr = optimizer.defaults['lr']
        for group in optimizer.param_groups:
            group['lr'] = group['lr'] * (lr / group['initial_lr']) if group['initial_lr'] else lr
            group['initial_lr'] = lr
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:  # fused updates require its format
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    for scheduler, saved in zip(model.schedulers, state['schedulers'], strict=True):
        # Its other attributes are options, such as milestones, which may have been changed
        scheduler.load_state_dict({name: saved[name] for name in SCHEDULER_PROGRESS if name in saved})
    for optimizer_step, saved in zip(model.optimizer_steps, state.get('optimizer_steps', []), strict=False):
        optimizer_step.load_state_dict(saved)


def remove_old_checkpoints(
    models: Path, states: Path, current_iter: int, keep: int, best: Callable[[Iterable[int]], int | None]
) -> None:
    """Remove all checkpoints except the last `keep` ones and the best one.

    A checkpoint consists of `states/ITERATION.state` and `models/net_*_ITERATION.pth`. `net_*_latest.pth` and
    checkpoints after `current_iter`, which belong to another training, are left unchanged. `best` selects the best of
    some iterations, or returns None if it is unknown.
    """
    saved = [iteration for path in training_states(states) if (iteration := int(Path(path).stem)) <= current_iter]
    kept = {*saved[:keep], best(saved)}
    for iteration in set(saved) - kept:  # states first, so that no state lacks its networks
        (states / f'{iteration}.state').unlink(missing_ok=True)
    for path in models.glob('net_*.pth'):
        match = re.fullmatch(r'net_.+_(\d+)', path.stem)
        if match and int(match[1]) <= current_iter and int(match[1]) not in kept:
            path.unlink(missing_ok=True)
