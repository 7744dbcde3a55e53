"""Real-world super-resolution from unpaired images, as a plugin for BasicSR.

Importing this package is cheap: `register` brings in torch and BasicSR.
"""

__version__ = '0.1.0'

_KINDS = {'archs': '_arch', 'losses': '_loss', 'data': '_dataset', 'models': '_model', 'metrics': '_metric'}
_registering = False


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
    # imported here, because every start of Python imports this file
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
