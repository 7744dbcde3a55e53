"""Calls `usrdu_basicsr.register` when a program imports `basicsr`, which has no plugin mechanism of its own.

The installed file `usrdu_basicsr.pth` runs `install` whenever Python starts, so until `basicsr` is imported nothing
here may import a module that the interpreter has not loaded already.
"""

import os
import sys

TYPE_CHECKING = False  # `typing` would be such an import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class BasicSRFinder:
    """Finds `basicsr` by means of the other finders, and has it registered as soon as it has been executed."""

    def find_spec(
        self, name: str, path: 'Sequence[str] | None' = None, target: 'ModuleType | None' = None
    ) -> 'ModuleSpec | None':
        """The spec of `basicsr` with our loader; of anything else None, which sends the import system on."""
        if name != 'basicsr':
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if _takes_plugins(spec):
                    self._extend_loader(spec)
                return spec
        return None

    def _extend_loader(self, spec: 'ModuleSpec') -> None:
        """Replace one method of the one loader, so that whatever else it offers keeps working."""
        loader = spec.loader
        if loader is None or 'exec_module' in vars(loader):
            return
        execute = loader.exec_module

        def exec_module(module: 'ModuleType') -> None:
            if module.__name__ != 'basicsr':  # some loaders, such as that of zip files, serve several modules
                execute(module)
                return
            from usrdu_basicsr.compat import basicsr_patches, registration

            basicsr_patches.apply_before_import()
            execute(module)
            registration.register()
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        loader.exec_module = exec_module  # type: ignore[method-assign]


def _takes_plugins(spec: 'ModuleSpec') -> bool:
    """Whether this is a BasicSR with registries: many projects carry a folder `basicsr` that is something else."""
    folders = spec.submodule_search_locations or ()
    return spec.origin is not None and any(
        os.path.isfile(os.path.join(folder, 'utils', 'registry.py')) for folder in folders
    )


def install() -> None:
    """Wait for `basicsr` to be imported; too late if it has been, and needless if another finder waits already."""
    waiting = any(type(finder) is BasicSRFinder for finder in sys.meta_path)
    if 'basicsr' not in sys.modules and not waiting:
        sys.meta_path.insert(0, BasicSRFinder())
