"""GAN losses of the generator and the discriminator, and the discriminator's update."""

from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from usrdu_basicsr.models.optimizer_step import OptimizerStep, grad_sync
from usrdu_basicsr.utils.precision import Precision


class DiscriminatorStep:
    """Trains a discriminator, in `DistributedDataParallel` in distributed training, and a generator against it."""

    def __init__(self, net: nn.Module, loss: Any, optimizer_step: OptimizerStep, precision: Precision) -> None:
        self.net = net
        self.loss = loss
        self.optimizer_step = optimizer_step
        self.precision = precision

    def generator_loss(self, fake: Tensor) -> Tensor:
        """GAN loss of generated images. Its gradient reaches `fake`, but not the discriminator's parameters."""
        # The distributed wrapper would wait for gradients to all-reduce.
        net = self.net.module if isinstance(self.net, DistributedDataParallel) else self.net
        net.requires_grad_(False)
        logits = self.precision.run(net, fake)
        net.requires_grad_(True)
        return self.loss(logits, True, is_disc=False)

    def step(self, real: list[Tensor], fake: list[Tensor], fake_first: bool) -> list[dict[str, Tensor]]:
        """Update the discriminator.

        Args:
            real: Micro-batches of real images, as the discriminator sees them.
            fake: Micro-batches of generated images, detached.
            fake_first: Whether generated images precede real ones. Each forward pass advances the spectral norms.

        Returns:
            Losses and mean logits of each micro-batch, for the log.
        """
        logs = []
        order = ('fake', 'real') if fake_first else ('real', 'fake')
        for i, images in enumerate(zip(real, fake, strict=True)):
            log: dict[str, Tensor] = {}
            for name in order:
                with grad_sync(self.net, enabled=i == len(real) - 1 and name == order[1]):
                    logits = self.precision.run(self.net, images[name == 'fake'])
                    loss = self.loss(logits, name == 'real', is_disc=True)
                    # Before the next forward pass, which in distributed training overwrites buffers needed here.
                    self.optimizer_step.backward(loss)
                log |= {f'l_d_{name}': loss, f'out_d_{name}': logits.mean()}
            logs.append(log)
        self.optimizer_step.step()
        return logs
