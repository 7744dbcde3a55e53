"""Stage 1: train the downsampling network on unpaired HR and real LR images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.archs.dsn_arch import DSNOutput
from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.models.adversarial_base import AdversarialModel
from usrdu_basicsr.ops.filters import high_pass
from usrdu_basicsr.ops.kernels import centre_of_mass, kernel_downsample
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.utils.images import heat_map

SHIFT_TOLERANCE = 0.25  # HR pixels, on average over a set of kernels


@MODEL_REGISTRY.register()
class UncertaintyDSNModel(AdversarialModel):
    """Learns a distribution over LR images (USR-DU, IJCAI 2022).

    `train:` takes `pixel_opt` (LaplaceKLLoss), and where wanted `perceptual_opt` (UncertaintyPerceptualLoss) and
    `gan_opt` with `network_d`, whose discriminator sees only the high frequencies of generated means and real LR,
    amplified by `high_pass_gain`. The published gain is 1; noise of a few gray levels is then a few hundredths of what
    the discriminator sees, and it takes thousands of iterations to notice it. More suits a small budget.

    With `target: kernel` the reference that the mean is held to is not the bicubic reduction of an HR crop but its
    reduction with a kernel drawn for each crop from the folder `kernels` (track 2). Which kernels are drawn depends on
    `manual_seed`, rank and iteration alone.
    """

    output: DSNOutput
    lq: Any  # real LR images, or None in a validation that has none

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """BasicSR's; without a perceptual loss the feature head has no gradient, which distribution must know."""
        if self.is_train and not self.opt['train'].get('perceptual_opt') and hasattr(net, 'feature_head'):
            net.feature_head.requires_grad_(False)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        super().init_training_settings()
        self.kernels: Tensor | None = None
        if self.opt['train'].get('target') == 'kernel':
            self.kernels = self._load_kernels(self.opt['train']['kernels']).to(self.device)

    def _load_kernels(self, folder: str) -> Tensor:
        kernels = torch.from_numpy(read_kernel_set(folder, self.opt['datasets']['train']['gt_size']))
        logger = get_root_logger()
        logger.info(f'HR crops are reduced with {len(kernels)} kernels from {folder}.')
        shift = (centre_of_mass(kernels) - kernels.shape[1] // 2).mean(0) - (self.opt['scale'] - 1) / 2
        if shift.abs().max() > SHIFT_TOLERANCE:
            logger.warning(
                f'The kernels in {folder} move images by {shift[0]:.2f} HR pixels down and {shift[1]:.2f} right on'
                f' average: generated LR images, and so SR results, will be shifted. Are they for scale'
                f' {self.opt["scale"]}?'
            )
        return kernels

    def reference(self) -> Tensor:
        """What the mean is held to in this step: the HR images reduced as `target` says, `(N, 3, H/s, W/s)`."""
        scale = self.opt['scale']
        if self.kernels is None:
            return bicubic_downsample(self.gt, scale)
        drawn = torch.randint(len(self.kernels), (len(self.gt),), device=self.device)
        return kernel_downsample(self.gt, self.kernels[drawn], scale)

    def feed_data(self, data: dict[str, Tensor]) -> None:
        """Take a batch: `gt`, HR images `(N, 3, H, W)`; `lq`, real LR images `(N, 3, H/s, W/s)`, where it has them."""
        self.gt = self.to_device(data['gt'])
        self.lq = self.to_device(data['lq']) if 'lq' in data else None

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the discriminator, then of the generator."""
        self.begin_step(current_iter)
        images, targets = self.micro_batches(self.gt), self.micro_batches(self.reference())
        several = len(images) > 1
        output = None
        discriminator_logs: list[dict[str, Tensor]] = []
        if self.net_d is not None:
            # It learns first, from all parts, whose graphs together would need the memory that parts are there to save.
            if several:
                with torch.no_grad():
                    fake = [self._high_pass(self._predict(part, with_features=False).mean) for part in images]
            else:
                output = self._predict(images[0])
                fake = [self._high_pass(output.mean.detach())]
            real = [self._high_pass(part) for part in self.micro_batches(self.lq)]
            discriminator_logs = self.step_discriminator(real, fake, fake_first=True)

        logs = []
        for part, target in zip(images, targets, strict=True):
            with self.grad_sync(self.net_g, part is images[-1]):
                if several or output is None:
                    output = self._predict(part)
                losses = self._generator_losses(output, target)
                self.optimizer_steps[0].backward(*losses.values())
            logs.append(losses | {'log_scale': output.log_scale.mean()})
        self.optimizer_steps[0].step()
        self.end_step([*logs, *discriminator_logs], current_iter)

    def _predict(self, images: Tensor, with_features: bool = True) -> DSNOutput:
        return self.precision.run(self.net_g, images, with_features=with_features and self.cri_perceptual is not None)

    def _high_pass(self, images: Tensor) -> Tensor:
        return high_pass(images, gain=self.opt['train'].get('high_pass_gain', 1.0))

    def _generator_losses(self, output: DSNOutput, target: Tensor) -> dict[str, Tensor]:
        mean, log_scale, feature_log_scale = output
        losses = {'l_g_kl': self.cri_pix(mean, target, log_scale)}
        if self.cri_perceptual is not None:
            losses['l_g_percep'] = self.cri_perceptual(mean, target, feature_log_scale)
        if self.net_d is not None:
            logits = self.discriminator_logits(self._high_pass(mean))
            losses['l_g_gan'] = self.cri_gan(logits, True, is_disc=False)
        return losses

    def test(self) -> None:
        self.output = self.infer(self.gt, with_features=False)

    def get_current_visuals(self) -> dict[str, Tensor]:
        """`result` (generated mean), `log_scale`, and `gt` (the real LR image) where there is one; on the CPU."""
        visuals = {'result': self.output.mean.cpu(), 'log_scale': self.output.log_scale.cpu()}
        if self.lq is not None:
            visuals['gt'] = self.lq.cpu()
        return visuals

    def validation_images(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The mean against the real LR image, with `log_scale`, for metrics; the mean and a heat map of the scale."""
        visuals = self.get_current_visuals()
        images = {'img': tensor2img(visuals['result'])}
        images['log_scale'] = visuals['log_scale'].squeeze(0).permute(1, 2, 0).flip(2).numpy()
        if 'gt' in visuals:
            images['img2'] = tensor2img(visuals['gt'])
        heat = heat_map(visuals['log_scale'].mean(1).squeeze(0).numpy())
        return images, {'': images['img'], '_uncertainty': heat}

    def image_path(self, data: dict[str, Any]) -> str:
        return data['gt_path'][0]
