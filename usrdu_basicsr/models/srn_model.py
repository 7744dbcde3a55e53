"""Stage 2: train a super-resolution network on LR images sampled from the learned distribution."""

from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import CameraNoise, sample_lr
from usrdu_basicsr.models.base_model import USRDUBaseModel
from usrdu_basicsr.models.optimizer_step import grad_sync
from usrdu_basicsr.ops.filters import gradient_image
from usrdu_basicsr.ops.patches import crop_and_augment, round_to_8bit
from usrdu_basicsr.options.schema.checkpoints import SRNPathOptions
from usrdu_basicsr.storage.generated_set import generated_noise


@MODEL_REGISTRY.register()
class GradientGANModel(USRDUBaseModel):
    """SR with any BasicSR generator and a GAN whose discriminator sees gradient images (USR-DU, IJCAI 2022).

    A batch has `gt` and one of the following: `lq` and `log_scale` (an LR image is sampled in each step); `lq` only (it
    is used as it is); `crop`, with the options `network_dsn` and `path: pretrain_network_dsn` (the frozen DSN predicts
    `lq` and `log_scale` from `gt`, the windows of `HRImageDataset`). The sampled noise depends on `manual_seed`, rank
    and iteration only.
    """

    path_key = 'lq_path'
    gt: Any
    crop: Any

    def init_training_settings(self) -> None:
        super().init_training_settings()
        self.cri_low_frequency = None
        if (loss := self.opt['train'].get('low_frequency_opt')) is not None:
            self.cri_low_frequency = build_loss(loss).to(self.device)
        self.net_dsn = None
        if self.opt.get('network_dsn') is not None:
            self.net_dsn = build_network(self.opt['network_dsn']).to(self.device).eval().requires_grad_(False)
            param_key = SRNPathOptions.from_options(self.opt['path']).param_key_dsn
            self.load_network(self.net_dsn, self.opt['path']['pretrain_network_dsn'], param_key=param_key)
            self.prepare(self.net_dsn)
        self.camera_noise = self._camera_noise()

    def _camera_noise(self) -> CameraNoise | None:
        """Calibration of the DSN, or of the DSN that generated the set."""
        if self.net_dsn is not None:
            return self.net_dsn.camera_noise
        dataset = self.opt.get('datasets', {}).get('train', {})
        if dataset.get('type') != 'UncertaintyPairedDataset':
            return None
        noise = generated_noise(Path(dataset['dataroot_lq']).expanduser().parent)
        return None if noise is None else CameraNoise.from_description(noise).to(self.device)

    def feed_data(self, data: dict[str, Tensor]) -> None:
        """Set the batch: `gt` `(N, 3, H, W)`, `lq`, `log_scale` `(N, 3, H/s, W/s)`, `crop` `(N, 5)`, or None."""
        for name in ('gt', 'lq', 'log_scale', 'crop'):
            setattr(self, name, self.to_device(data[name]) if name in data else None)

    @torch.no_grad()
    def predict_pair(self) -> None:
        """Set the HR patches and their LR distributions, with the values of a generated set, from windows `gt`."""
        mean, log_scale, _ = self.precision.run(self.net_dsn, self.gt, with_features=False)
        size, scale, crop = self.opt['datasets']['train']['gt_size'], self.opt['scale'], self.crop
        self.lq = crop_and_augment(round_to_8bit(mean), crop, size // scale)
        self.log_scale = crop_and_augment(log_scale, crop, size // scale)
        crop[:, :2] *= scale
        self.gt = crop_and_augment(self.gt, crop, size)

    def training_lq(self) -> Tensor:
        """LR images of this step, `(N, 3, H/s, W/s)`."""
        return self.lq if self.log_scale is None else sample_lr(self.lq, self.log_scale, self.camera_noise)

    def optimize_parameters(self, current_iter: int) -> None:
        """Update the generator, then the discriminator."""
        self.begin_step(current_iter)
        if self.net_dsn is not None:
            self.predict_pair()
        self.lq = self.training_lq()
        lqs, gts = self.train_settings.micro_batches(self.lq), self.train_settings.micro_batches(self.gt)
        logs: list[dict[str, Tensor]] = []
        fakes: list[Tensor] = []
        for lq, gt in zip(lqs, gts, strict=True):
            with grad_sync(self.net_g, enabled=lq is lqs[-1]):
                output = self.precision.run(self.net_g, lq)
                losses = self._pixel_losses(output, gt)
                if self.discriminator_step is not None:
                    fake = self.discriminator_input(output)
                    losses['l_g_gan'] = self.discriminator_step.generator_loss(fake)
                    fakes.append(fake.detach())
                self.optimizer_steps[0].backward(*losses.values())
            logs.append(losses)
        self.optimizer_steps[0].step()
        if self.discriminator_step is not None:
            logs += self.discriminator_step.step([self.discriminator_input(gt) for gt in gts], fakes, fake_first=False)
        self.end_step(logs, current_iter)

    def discriminator_input(self, image: Tensor) -> Tensor:
        """Images as the discriminator sees them, `(N, 3, H, W)`: their gradients (section 3.3 of the paper)."""
        return gradient_image(image)

    def _pixel_losses(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        losses = {}
        if self.cri_pix is not None:
            losses['l_g_pix'] = self.cri_pix(output, gt)
        if self.cri_low_frequency is not None:
            losses['l_g_low'] = self.cri_low_frequency(output, gt)
        if self.cri_perceptual is not None:
            percep, style = self.cri_perceptual(output, gt)
            losses |= {k: v for k, v in {'l_g_percep': percep, 'l_g_style': style}.items() if v is not None}
        return losses

    def test(self) -> None:
        self.output = self.infer(self.lq)

    def get_current_visuals(self) -> dict[str, Tensor]:
        """Return `lq`, `result` and, if available, `gt`, on the CPU."""
        visuals = {'lq': self.lq, 'result': self.output, 'gt': self.gt}
        return {name: image.cpu() for name, image in visuals.items() if image is not None}
