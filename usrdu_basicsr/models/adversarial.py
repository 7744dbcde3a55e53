"""What both stages share: a generator, an optional discriminator, safe files, logs without device syncs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from os import path as osp
from typing import Any

from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from usrdu_basicsr.checkpoint import check_weights, read_weights, write_checkpoint


class AdversarialModel(SRModel):
    """BasicSR's `SRModel` with a discriminator where the options have `network_d` and `train: gan_opt`.

    Subclasses define `optimize_parameters`. Against BasicSR's `SRGANModel`: the discriminator is optional, options are
    left as they are, checkpoints are written whole or not at all, and losses wait on the device until they are printed.
    """

    opt: dict[str, Any]
    net_d: Any  # a network, perhaps in its distributed wrapper; None without a discriminator

    def init_training_settings(self) -> None:
        self.net_d = None
        if self.opt.get('network_d') is not None:
            self.net_d = self.model_to_device(build_network(self.opt['network_d'])).train()
            self.print_network(self.net_d)
            paths = self.opt['path']
            if paths.get('pretrain_network_d') is not None:
                self.load_network(
                    self.net_d,
                    paths['pretrain_network_d'],
                    paths.get('strict_load_d', True),
                    paths.get('param_key_d', 'params'),
                )
            self.cri_gan = build_loss(self.opt['train']['gan_opt']).to(self.device)
        super().init_training_settings()

    @contextmanager
    def _options_kept(self) -> Iterator[None]:
        """BasicSR's set-up functions pop `type` from the options: let them do it to a copy."""
        opt, self.opt = self.opt, deepcopy(self.opt)
        try:
            yield
        finally:
            self.opt = opt

    def setup_optimizers(self) -> None:
        with self._options_kept():
            super().setup_optimizers()
        if self.net_d is not None:
            settings = dict(self.opt['train']['optim_d'])
            self.optimizer_d = self.get_optimizer(settings.pop('type'), self.net_d.parameters(), **settings)
            self.optimizers.append(self.optimizer_d)

    def setup_schedulers(self) -> None:
        with self._options_kept():
            super().setup_schedulers()

    def reduce_loss_dict(self, loss_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the losses on the device; `get_current_log` reads them when they are printed."""
        return OrderedDict((name, value.detach()) for name, value in loss_dict.items())

    def get_current_log(self) -> dict[str, float]:
        """Losses of the last step, averaged over ranks. All ranks must call it together."""
        return super().reduce_loss_dict(self.log_dict)

    def discriminator_logits(self, x: Tensor) -> Tensor:
        """Judge generated images in the generator's step: gradients reach `x` but not the discriminator.

        The discriminator is called without its distributed wrapper, which would await gradients to share.
        """
        net_d = self.net_d.module if isinstance(self.net_d, DistributedDataParallel) else self.net_d
        net_d.requires_grad_(False)
        try:
            return net_d(x)
        finally:
            net_d.requires_grad_(True)

    def step_discriminator(self, real: Tensor, fake: Tensor, fake_first: bool) -> dict[str, Tensor]:
        """One step of the discriminator.

        Args:
            real: Real images as the discriminator sees them.
            fake: Generated ones, detached.
            fake_first: Which it sees first; its spectral norms advance with each look.

        Returns:
            Losses and mean logits, for the log.
        """
        log = {}
        self.optimizer_d.zero_grad(set_to_none=True)
        for name in ('fake', 'real') if fake_first else ('real', 'fake'):
            logits = self.net_d(real if name == 'real' else fake)
            loss = self.cri_gan(logits, name == 'real', is_disc=True)
            # One backward a look: a second look under distribution would overwrite what the first one's needs.
            loss.backward()
            log[f'l_d_{name}'] = loss
            log[f'out_d_{name}'] = logits.mean()
        self.optimizer_d.step()
        return log

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params') -> None:
        """BasicSR's, on weights read without executing pickled code.

        Raises:
            InputNotFoundError: There is no such file.
            InputError: It is damaged, or strictly loaded and not of this network.
        """
        net = self.get_bare_model(net)
        weights = read_weights(load_path, param_key)
        if strict:
            check_weights(net, weights, load_path)
        else:
            self._print_different_keys_loading(net, weights, strict)
        net.load_state_dict(weights, strict=strict)
        get_root_logger().info(f'Loaded {type(net).__name__} from {load_path}.')

    @master_only
    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int,
        param_key: str | list[str] = 'params',
    ) -> None:
        """Write `{param_key: weights}` to `models/<net_label>_<iter>.pth`, whole or not at all.

        Raises:
            OSError: The file cannot be written; the previous one is intact.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {}
        for one, key in zip(nets, keys, strict=True):
            content[key] = {name: value.cpu() for name, value in self.get_bare_model(one).state_dict().items()}
        write_checkpoint(self._checkpoint_path('models', net_label + '_{}.pth', current_iter), content)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write what resuming needs to `training_states/<iter>.state`, whole or not at all.

        Raises:
            OSError: The file cannot be written; the previous one is intact.
        """
        if current_iter == -1:
            return
        state: dict[str, Any] = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        }
        write_checkpoint(self._checkpoint_path('training_states', '{}.state', current_iter), state)

    def _checkpoint_path(self, folder: str, template: str, current_iter: int) -> str:
        return osp.join(self.opt['path'][folder], template.format('latest' if current_iter == -1 else current_iter))

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the discriminator, then what `SRModel` writes: the state last, so that a state has its networks."""
        if self.net_d is not None:
            self.save_network(self.net_d, 'net_d', current_iter)
        super().save(epoch, current_iter)
