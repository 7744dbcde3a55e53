"""Stage 2: train a super-resolution network on LR images sampled from the learned distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from usrdu_basicsr.models.adversarial_base import AdversarialModel
from usrdu_basicsr.ops.gradient import gradient_image
from usrdu_basicsr.ops.sampling import sample_laplace


@MODEL_REGISTRY.register()
class GradientGANModel(AdversarialModel):
    """SR on any BasicSR generator, with a GAN whose discriminator sees gradient images (USR-DU, IJCAI 2022).

    Batches hold `gt` and one of: `lq` and `log_scale` (a new LR image is sampled at each step), `lq` alone (trained on
    as it is), or neither where the options have `network_dsn` and `path: pretrain_network_dsn`: the frozen DSN then
    predicts both from `gt`. The sampled noise depends on `manual_seed`, rank and iteration alone.
    """

    def init_training_settings(self) -> None:
        super().init_training_settings()
        train_opt = self.opt['train']
        self.cri_low_frequency = None
        if train_opt.get('low_frequency_opt') is not None:
            self.cri_low_frequency = build_loss(train_opt['low_frequency_opt']).to(self.device)
        self.net_dsn = None
        if self.opt.get('network_dsn') is not None:
            paths = self.opt['path']
            self.net_dsn = build_network(self.opt['network_dsn']).to(self.device).eval().requires_grad_(False)
            self.load_network(
                self.net_dsn, paths['pretrain_network_dsn'], param_key=paths.get('param_key_dsn', 'params_ema')
            )
            self._prepare(self.net_dsn)

    def feed_data(self, data: dict[str, Tensor]) -> None:
        """Take a batch: `gt` `(N, 3, H, W)`, `lq` and `log_scale` `(N, 3, H/s, W/s)`, each where the batch has it."""
        for name in ('gt', 'lq', 'log_scale'):
            setattr(self, name, self.to_device(data[name]) if name in data else None)

    def training_lq(self) -> Tensor:
        """The LR images of this step, `(N, 3, H/s, W/s)`."""
        if self.net_dsn is not None:
            with torch.no_grad():
                mean, log_scale, _ = self.precision.run(self.net_dsn, self.gt, with_features=False)
        elif self.log_scale is not None:
            mean, log_scale = self.lq, self.log_scale
        else:
            return self.lq
        return sample_laplace(mean, log_scale)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the generator, then of the discriminator."""
        self.begin_step(current_iter)
        self.lq = self.training_lq()
        inputs, truths = self.micro_batches(self.lq), self.micro_batches(self.gt)
        logs: list[dict[str, Tensor]] = []
        fakes: list[Tensor] = []
        for lq, gt in zip(inputs, truths, strict=True):
            with self.grad_sync(self.net_g, lq is inputs[-1]):
                output = self.precision.run(self.net_g, lq)
                fake = None if self.net_d is None else gradient_image(output)
                losses = self._generator_losses(output, gt, fake)
                self.optimizer_steps[0].backward(*losses.values())
            logs.append(losses)
            if fake is not None:
                fakes.append(fake.detach())
        self.optimizer_steps[0].step()
        if fakes:
            logs += self.step_discriminator([gradient_image(gt) for gt in truths], fakes, fake_first=False)
        self.end_step(logs, current_iter)

    def _generator_losses(self, output: Tensor, gt: Tensor, fake: Tensor | None) -> dict[str, Tensor]:
        losses = {}
        if self.cri_pix is not None:
            losses['l_g_pix'] = self.cri_pix(output, gt)
        if self.cri_low_frequency is not None:
            losses['l_g_low'] = self.cri_low_frequency(output, gt)
        if self.cri_perceptual is not None:
            percep, style = self.cri_perceptual(output, gt)
            losses |= {k: v for k, v in {'l_g_percep': percep, 'l_g_style': style}.items() if v is not None}
        if fake is not None:
            losses['l_g_gan'] = self.cri_gan(self.discriminator_logits(fake), True, is_disc=False)
        return losses

    def test(self) -> None:
        self.output = self.infer(self.lq)

    def get_current_visuals(self) -> dict[str, Tensor]:
        """`lq`, `result`, and `gt` where there is one; on the CPU."""
        visuals = {'lq': self.lq, 'result': self.output, 'gt': self.gt}
        return {name: image.cpu() for name, image in visuals.items() if image is not None}

    def validation_images(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The upscaled image, for metrics with the HR image where there is one."""
        visuals = self.get_current_visuals()
        images = {name: tensor2img(visuals[key]) for name, key in (('img', 'result'), ('img2', 'gt')) if key in visuals}
        return images, {'': images['img']}

    def image_path(self, data: dict[str, Any]) -> str:
        return data['lq_path'][0]
