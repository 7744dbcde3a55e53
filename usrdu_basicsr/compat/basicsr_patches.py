"""Patches of BasicSR 1.4.2; those for distributed training are in `dist_patches`.

Each docstring says what breaks without the patch, how the need is detected, and when the patch can be removed. A patch
is applied only where it is needed, and returns whether it was. Applying it again has no effect, because the need is no
longer detected. `patching` keeps which patches are active.
"""

import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from usrdu_basicsr.compat.patching import apply_patches

_FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'


def apply_before_import() -> None:
    """Apply the patch that `import basicsr` needs."""
    apply_patches(PATCHES[:1])


def apply() -> None:
    """Apply all patches."""
    apply_patches(PATCHES)


def _provide_functional_tensor() -> bool:
    """Provide `torchvision.transforms.functional_tensor`, which BasicSR's `data/degradations.py` imports.

    Without it, `import basicsr` fails. Needed if the module cannot be imported (torchvision 0.17 and later). Can be
    removed when BasicSR imports `rgb_to_grayscale` from `torchvision.transforms.functional`.
    """
    try:
        import_module(_FUNCTIONAL_TENSOR)
    except ModuleNotFoundError as error:
        if error.name != _FUNCTIONAL_TENSOR:
            raise
    else:
        return False
    module = ModuleType(_FUNCTIONAL_TENSOR)
    vars(module)['rgb_to_grayscale'] = import_module('torchvision.transforms.functional').rgb_to_grayscale
    sys.modules[_FUNCTIONAL_TENSOR] = module
    return True


def _share_lmdbs() -> bool:
    """Make BasicSR's LMDB client share the LMDB environments that are open in this process.

    Without it, lmdb 3 raises "already open in this process" for a second dataset of the same LMDB and in a data worker
    forked while the LMDB is open. Needed if the client opens LMDBs itself. Can be removed when BasicSR opens each LMDB
    once per process.
    """
    backend = import_module('basicsr.utils.file_client').LmdbBackend
    original = backend.__init__
    if not uses(original, 'open'):
        return False

    from usrdu_basicsr.storage.lmdb_source import open_environment

    class SharedEnvironments(dict):
        """Environments by client key, looked up at each use because the process may have been forked."""

        def __getitem__(self, key: str) -> Any:
            return open_environment(super().__getitem__(key))

    def init(self: Any, db_paths: Any, client_keys: Any = 'default', **settings: Any) -> None:
        paths, keys = ([value] if isinstance(value, str) else value for value in (db_paths, client_keys))
        if settings.get('lock') or not settings.get('readonly', True) or len(paths) != len(keys):
            original(self, db_paths, client_keys, **settings)
            return
        self.db_paths = [str(path) for path in paths]
        self._client = SharedEnvironments(zip(keys, self.db_paths, strict=True))

    backend.__init__ = init
    return True


def _propagate_prefetch_errors() -> bool:
    """Raise errors of BasicSR's prefetching thread (`prefetch_mode: cpu`) in the main thread.

    Without it, only the thread ends, and the training waits for the next batch forever. Needed if the loader uses
    `PrefetchGenerator`. Can be removed when BasicSR propagates these errors.
    """
    loader = import_module('basicsr.data.prefetch_dataloader').PrefetchDataLoader
    if not uses(loader.__iter__, 'PrefetchGenerator'):
        return False

    def iterate(self: Any) -> Iterator[Any]:
        return fetch(super(loader, self).__iter__(), max(self.num_prefetch_queue, 1))

    def fetch(batches: Iterator[Any], ahead: int) -> Iterator[Any]:
        with ThreadPoolExecutor(1) as thread:
            pending = deque(thread.submit(next, batches, None) for _ in range(ahead))
            while (batch := pending.popleft().result()) is not None:
                pending.append(thread.submit(next, batches, None))
                yield batch

    loader.__iter__ = iterate
    return True


def _patch_launchers() -> bool:
    """Make BasicSR's launchers write into the current folder, resume without a GPU, and validate options.

    Without it, an installed BasicSR writes experiments into site-packages, resuming calls CUDA on every machine and
    restarts the epoch, and invalid options of this package's models fail late with a traceback. Needed if
    `parse_options` is not patched yet. Can be removed when BasicSR writes into the current folder, resumes exactly
    and on a CPU, and lets models validate options.
    """
    original = import_module('basicsr.utils.options').parse_options
    if getattr(original, '__module__', None) == __name__:
        return False

    def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        from usrdu_basicsr.compat.launcher import parse_options as parse_and_check

        # A launcher run as a program is a second copy of the module, which did not exist before.
        _patch_resuming(sys.modules['__main__'])
        return parse_and_check(original, root_path, is_train)

    # The launchers, and `basicsr` itself, have imported the function by name.
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] == 'basicsr' and getattr(module, 'parse_options', None) is original:
            vars(module)['parse_options'] = parse_options
    if 'basicsr.train' in sys.modules:
        _patch_resuming(sys.modules['basicsr.train'])
    return True


def _patch_resuming(launcher: ModuleType) -> None:
    original = getattr(launcher, 'load_resume_state', None)
    is_patched = getattr(original, '__module__', None) == __name__
    if original is None or is_patched or not hasattr(launcher, 'train_pipeline'):
        return

    # These functions import when they are called: the module that imports BasicSR may be one of those imported here.
    def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
        from usrdu_basicsr.compat.launcher import working_root
        from usrdu_basicsr.compat.resume import resumer
        from usrdu_basicsr.options.reading import is_usrdu_model

        # `train_pipeline` has set the root it was called with, and writes TensorBoard's logs there.
        opt['root_path'] = working_root(opt['root_path'])
        load = resumer.load_resume_state if is_usrdu_model(opt) or uses(original, 'current_device') else original
        return load(opt)

    def build_dataloader(build: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from usrdu_basicsr.compat.resume import resumer

        return resumer.build_dataloader(build, *args, **kwargs)

    vars(launcher)['load_resume_state'] = load_resume_state
    if (build := getattr(launcher, 'build_dataloader', None)) is not None:  # otherwise it uses that of `basicsr.train`
        vars(launcher)['build_dataloader'] = partial(build_dataloader, build)


def uses(function: Callable[..., Any], name: str) -> bool:
    """Whether the code of `function` uses the global or attribute `name`."""
    return name in function.__code__.co_names


def _silence_launcher_warning() -> bool:
    """Silence Python's warning that a launcher has been imported before it is run.

    Without it, `python -m basicsr.train` starts with a RuntimeWarning of `runpy`. Needed if `import basicsr` has
    imported its launchers. Can be removed when BasicSR no longer imports them.
    """
    message = r"'basicsr\.(train|test)' found in sys\.modules"
    is_silenced = any(pattern is not None and pattern.pattern == message for _, pattern, *_ in warnings.filters)
    if is_silenced or not {'basicsr.train', 'basicsr.test'} & sys.modules.keys():
        return False
    warnings.filterwarnings('ignore', message, RuntimeWarning, 'runpy')
    return True


PATCHES = (
    _provide_functional_tensor,
    _share_lmdbs,
    _propagate_prefetch_errors,
    _patch_launchers,
    _silence_launcher_warning,
)
