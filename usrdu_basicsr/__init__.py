"""Real-world super-resolution from unpaired images, as a plugin for BasicSR.

Importing this package is cheap. PyTorch and BasicSR are imported by `register` and by the first use of `load_upscaler`,
`load_sampler`, `Upscaler` or `LRSampler`.
"""

from usrdu_basicsr.compat import hook
from usrdu_basicsr.version import __version__ as __version__

TYPE_CHECKING = False  # as in `typing`, whose import would slow down every start of Python with the hook
if TYPE_CHECKING:
    from usrdu_basicsr.inference.lr_sampler import LRSampler as LRSampler
    from usrdu_basicsr.inference.lr_sampler import load_sampler as load_sampler
    from usrdu_basicsr.inference.upscaler import Upscaler as Upscaler
    from usrdu_basicsr.inference.upscaler import load_upscaler as load_upscaler

__all__ = ['LRSampler', 'Upscaler', 'load_sampler', 'load_upscaler', 'register']

_LAZY = {'Upscaler': 'upscaler', 'load_upscaler': 'upscaler', 'LRSampler': 'lr_sampler', 'load_sampler': 'lr_sampler'}

hook.install()


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    import importlib

    register()
    return getattr(importlib.import_module(f'{__name__}.inference.{_LAZY[name]}'), name)


def register() -> None:
    """Patch BasicSR and register the classes of this package; repeated calls have no effect.

    Importing `basicsr` after this package, or with the start-up hook installed, does the same.
    """
    from usrdu_basicsr.compat import registration

    registration.register()
