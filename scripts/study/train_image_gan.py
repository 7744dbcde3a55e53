"""Train stage 2 as `usrdu train` does, but with a discriminator that sees images instead of their gradients."""

import sys

from torch import Tensor

from usrdu_basicsr import register
from usrdu_basicsr.cli.main import main


def image(_: object, image: Tensor) -> Tensor:
    """Images as the discriminator sees them, `(N, 3, H, W)`."""
    return image


if __name__ == '__main__':
    register()
    from usrdu_basicsr.models.srn_model import GradientGANModel

    GradientGANModel.discriminator_input = image  # type: ignore[method-assign]
    sys.argv.insert(1, 'train')
    main()
