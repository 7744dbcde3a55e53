"""Real-world super-resolution from unpaired images, as a plugin for BasicSR.

Importing this package is cheap: `register` brings in torch and BasicSR, and so does the first use of `load_upscaler`,
`load_sampler`, `Upscaler` or `LRSampler`.
"""

TYPE_CHECKING = False  # type checkers take it for true; `typing` has it, but every start of Python imports this file
if TYPE_CHECKING:
    from usrdu_basicsr.inference.lr_sampler import LRSampler as LRSampler
    from usrdu_basicsr.inference.lr_sampler import load_sampler as load_sampler
    from usrdu_basicsr.inference.upscaler import Upscaler as Upscaler
    from usrdu_basicsr.inference.upscaler import load_upscaler as load_upscaler

__all__ = ['LRSampler', 'Upscaler', 'load_sampler', 'load_upscaler', 'register']
__version__ = '0.1.0'

_KINDS = {'archs': '_arch', 'losses': '_loss', 'data': '_dataset', 'models': '_model', 'metrics': '_metric'}
_LATE = {'Upscaler': 'upscale', 'load_upscaler': 'upscale', 'LRSampler': 'sample_lr', 'load_sampler': 'sample_lr'}
_registering = False


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    import importlib

    register()
    return getattr(importlib.import_module(f'{__name__}.pipeline.{_LATE[name]}'), name)


def register() -> None:
    """Make BasicSR work here and put this package's classes into its registries; further calls change nothing.

    An installed `usrdu_basicsr` does this by itself when a program imports `basicsr`.
    """
    # What follows imports BasicSR, whose import may call this function again.
    global _registering
    if _registering:
        return
    _registering = True
    try:
        _register()
    finally:
        _registering = False


def _register() -> None:
    # imported here, for the same reason
    import importlib
    import os
    import pkgutil

    from usrdu_basicsr import _compat

    _compat.apply_before_import()
    _compat.apply()
    for folder, suffix in _KINDS.items():
        for module in pkgutil.iter_modules([os.path.join(os.path.dirname(__file__), folder)]):
            if module.name.endswith(suffix):
                importlib.import_module(f'{__name__}.{folder}.{module.name}')
