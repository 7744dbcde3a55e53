"""Import hook that registers this package when a program imports `basicsr`, which has no plugin mechanism.

It also limits the spinning of OpenMP threads when a program imports `torch`.

The installed file `usrdu_basicsr.pth` imports this module whenever Python starts. Until `basicsr` is imported, it must
not import a module that the interpreter has not loaded already.
"""

import os
import sys

SPIN_COUNT = '1000'  # some 10 microseconds, see docs/benchmarks.md
TYPE_CHECKING = False  # importing `typing` would slow down every start of Python
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class BasicSRFinder:
    """Finder that delegates to the other finders and registers this package after `basicsr` has been executed."""

    def find_spec(
        self, name: str, path: 'Sequence[str] | None' = None, target: 'ModuleType | None' = None
    ) -> 'ModuleSpec | None':
        """Return the spec of `basicsr` with an extended loader, and None for any other module."""
        if name == 'torch':
            limit_spinning()
        if name != 'basicsr':
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if _has_registries(spec):
                    self._extend_loader(spec)
                return spec
        return None

    def _extend_loader(self, spec: 'ModuleSpec') -> None:
        """Replace `exec_module` of this loader instance; its other methods are unchanged."""
        loader = spec.loader
        if loader is None or 'exec_module' in vars(loader):
            return
        execute = loader.exec_module

        def exec_module(module: 'ModuleType') -> None:
            if module.__name__ != 'basicsr':  # some loaders, such as zipimporter, load several modules
                execute(module)
                return
            from usrdu_basicsr.compat import basicsr_patches, registration

            basicsr_patches.apply_before_import()
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            try:
                registration.register()
            except Exception as error:  # noqa: BLE001 - another project's `basicsr` may lack anything, and still works
                import warnings

                warnings.warn(f'usrdu_basicsr is not registered: {error}', RuntimeWarning, stacklevel=2)

        loader.exec_module = exec_module  # type: ignore[method-assign]


def _has_registries(spec: 'ModuleSpec') -> bool:
    """Whether the package has BasicSR's registries; some projects contain another package named `basicsr`."""
    folders = spec.submodule_search_locations or ()
    return spec.origin is not None and any(
        os.path.isfile(os.path.join(folder, 'utils', 'registry.py')) for folder in folders
    )


def limit_spinning() -> None:
    """Let waiting OpenMP threads sleep after a short spin, unless the user has chosen otherwise.

    By default they spin for milliseconds. With another program on the same cores, that makes a training step many
    times slower. GNU's OpenMP library reads the variable when torch loads it.
    """
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', SPIN_COUNT)


def install() -> None:
    """Install the finder, unless `basicsr` is imported already or a finder is installed."""
    is_installed = any(type(finder) is BasicSRFinder for finder in sys.meta_path)
    if 'basicsr' not in sys.modules and not is_installed:
        sys.meta_path.insert(0, BasicSRFinder())
