"""Stage 1: train the downsampling network on unpaired HR and real LR images."""

from collections.abc import Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.archs.dsn_arch import DSNOutput
from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.models.base_model import USRDUBaseModel
from usrdu_basicsr.models.optimizer_step import grad_sync
from usrdu_basicsr.models.validation_fidelity import IMAGES, ImageComparison, compare_image, fidelity_metrics
from usrdu_basicsr.ops.filters import high_pass
from usrdu_basicsr.ops.kernels import centre_of_mass, kernel_downsample
from usrdu_basicsr.ops.laplace import sample_laplace
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.options.schema.training_step import DSNStepOptions

SHIFT_TOLERANCE = 0.25  # HR pixels, mean over a set of kernels


@MODEL_REGISTRY.register()
class UncertaintyDSNModel(USRDUBaseModel):
    """Learns a distribution over LR images (USR-DU, IJCAI 2022).

    `train:` requires `pixel_opt` (LaplaceKLLoss); `perceptual_opt` (UncertaintyPerceptualLoss) and `gan_opt` with
    `network_d` are optional. The discriminator sees only the high frequencies of generated means and real LR images,
    amplified by `high_pass_gain`. At the published gain of 1, noise of a few gray levels amounts to a few hundredths of
    the discriminator's input, which takes thousands of iterations to learn. A higher gain suits a small budget.

    With `target: kernel` the reference of the mean is not the bicubic downsampling of an HR patch, but its downsampling
    with a kernel drawn for each patch from the folder `kernels` (track 2). The kernels drawn depend on `manual_seed`,
    rank and iteration only. A DSN with `kernel_size` starts from the kernel of a measured camera instead of bicubic
    downsampling.
    """

    path_key = 'gt_path'
    output: DSNOutput
    lq: Any  # real LR images, or None in a validation without them

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Freeze the feature head if there is no perceptual loss, as distributed training requires."""
        if self.is_train and not self.opt['train'].get('perceptual_opt') and hasattr(net, 'feature_head'):
            net.feature_head.requires_grad_(False)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        super().init_training_settings()
        self.kernels: Tensor | None = None
        self.step_options = DSNStepOptions.from_options(self.opt['train'])
        if self.step_options.target == 'kernel' and self.step_options.kernels is not None:
            self.kernels = self._load_kernels(self.step_options.kernels).to(self.device)
            for net in (self.net_g, self.net_g_ema) if self.ema_decay > 0 else (self.net_g,):
                if getattr(net := self.get_bare_model(net), 'base_kernel', None) is not None:
                    net.set_base_kernel(self.kernels)

    def _load_kernels(self, folder: str) -> Tensor:
        kernels = torch.from_numpy(read_kernel_set(folder, self.opt['datasets']['train']['gt_size']))
        logger = get_root_logger()
        logger.info(f"Loaded {len(kernels)} kernels from '{folder}' for downsampling HR patches.")
        shift = (centre_of_mass(kernels) - kernels.shape[1] // 2).mean(0) - (self.opt['scale'] - 1) / 2
        if shift.abs().max() > SHIFT_TOLERANCE:
            logger.warning(
                f"The kernels in '{folder}' shift images by {shift[0]:.2f} HR pixels down and {shift[1]:.2f} right on"
                f' average. Generated LR images and SR results will be shifted. Check that they are kernels for scale'
                f' {self.opt["scale"]}.'
            )
        return kernels

    def reference(self) -> Tensor:
        """Reference downsampling of the HR patches in this step, `(N, 3, H/s, W/s)`."""
        scale = self.opt['scale']
        if self.kernels is None:
            return bicubic_downsample(self.gt, scale)
        drawn = torch.randint(len(self.kernels), (len(self.gt),), device=self.device)
        return kernel_downsample(self.gt, self.kernels[drawn], scale)

    def feed_data(self, data: dict[str, Tensor]) -> None:
        """Set the batch: `gt`, HR images `(N, 3, H, W)`; optional `lq`, real LR images `(N, 3, H/s, W/s)`."""
        self.gt = self.to_device(data['gt'])
        self.lq = self.to_device(data['lq']) if 'lq' in data else None

    def optimize_parameters(self, current_iter: int) -> None:
        """Update the discriminator, then the generator."""
        self.begin_step(current_iter)
        patches, references = map(self.train_settings.micro_batches, (self.gt, self.reference()))
        # The discriminator is updated first. A single forward pass serves both updates. With gradient accumulation the
        # generator runs again, because the graphs of all micro-batches together would not save memory.
        shared_output = None
        d_logs: list[dict[str, Tensor]] = []
        if self.discriminator_step is not None:
            if len(patches) == 1:
                shared_output = self._predict(patches[0])
            with torch.no_grad():
                outputs = [shared_output or self._predict(patch, with_features=False) for patch in patches]
                fakes = [self._gan_input(output) for output in outputs]
            real = [self._high_pass(lq) for lq in self.train_settings.micro_batches(self.lq)]
            d_logs = self.discriminator_step.step(real, fakes, fake_first=True)

        logs = []
        for patch, reference in zip(patches, references, strict=True):
            with grad_sync(self.net_g, enabled=patch is patches[-1]):
                output = shared_output or self._predict(patch)
                losses = self._generator_losses(output, reference)
                self.optimizer_steps[0].backward(*losses.values())
            logs.append(losses | {'log_scale': output.log_scale.mean()})
        self.optimizer_steps[0].step()
        self.end_step([*logs, *d_logs], current_iter)

    def _predict(self, images: Tensor, with_features: bool = True) -> DSNOutput:
        return self.precision.run(self.net_g, images, with_features=with_features and self.cri_perceptual is not None)

    def _gan_input(self, output: DSNOutput) -> Tensor:
        """What the discriminator sees of a prediction: the high frequencies of the means, or of samples."""
        if self.step_options.gan_input == 'mean':
            return self._high_pass(output.mean)
        return self._high_pass(sample_laplace(output.mean, output.log_scale))

    def _high_pass(self, images: Tensor) -> Tensor:
        return high_pass(images, gain=self.step_options.high_pass_gain)

    def _generator_losses(self, output: DSNOutput, reference: Tensor) -> dict[str, Tensor]:
        mean, log_scale, feature_log_scale = output
        losses = {'l_g_kl': self.cri_pix(mean, reference, log_scale)}
        if self.cri_perceptual is not None:
            losses['l_g_percep'] = self.cri_perceptual(mean, reference, feature_log_scale)
        if self.discriminator_step is not None:
            losses['l_g_gan'] = self.discriminator_step.generator_loss(self._gan_input(output))
        return losses

    def test(self) -> None:
        self.output = self.infer(self.gt, with_features=False)

    def image_statistics(self, index: int) -> ImageComparison | None:
        """Comparison of a sample with the real LR image; None without one, or if images are not RGB."""
        if self.lq is None or self.gt.shape[1] != 3 or index >= IMAGES:
            return None
        output = DSNOutput(self.output.mean.cpu(), self.output.log_scale.cpu(), None)
        bicubic = bicubic_downsample(self.gt.cpu(), self.opt['scale'])
        noise = getattr(self.get_bare_model(self.net_g), 'camera_noise', None)
        return compare_image(output, noise, bicubic, self.lq.cpu(), index)

    def dataset_metrics(self, statistics: Sequence[ImageComparison | None]) -> dict[str, float]:
        """Fidelity of samples to the real LR images."""
        return fidelity_metrics(image for image in statistics if image is not None)

    def get_current_visuals(self) -> dict[str, Tensor]:
        """Return `result` (mean), `log_scale` and, if available, `gt` (real LR image), on the CPU."""
        visuals = {'result': self.output.mean, 'log_scale': self.output.log_scale, 'gt': self.lq}
        return {name: image.cpu() for name, image in visuals.items() if image is not None}
