"""Patches of third parties: BasicSR 1.4.2 with today's torchvision, and where it hangs or begins anew.

All stand here, but those of distribution, which stand in `dist_patches`.

Each says what breaks without it, how it tells that it is needed, and when it can go. None changes what works already,
and applying them again changes nothing: a replaced function no longer shows the need.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

_FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'


def apply_before_import() -> None:
    """Apply what `import basicsr` itself needs."""
    _provide_functional_tensor()


def apply() -> None:
    """Apply the patches of BasicSR's own functions, importing it if it is not yet."""
    _share_lmdbs()
    _pass_on_prefetch_errors()
    _correct_launchers()


def _provide_functional_tensor() -> None:
    """Provide the module from which BasicSR's `data/degradations.py` imports `rgb_to_grayscale`.

    Without it `import basicsr` fails. Needed if the module cannot be imported: since torchvision 0.17. Can go when
    BasicSR imports the function from `torchvision.transforms.functional`, where it always was.
    """
    try:
        import_module(_FUNCTIONAL_TENSOR)
    except ModuleNotFoundError as error:
        if error.name != _FUNCTIONAL_TENSOR:
            raise
        module = ModuleType(_FUNCTIONAL_TENSOR)
        vars(module)['rgb_to_grayscale'] = import_module('torchvision.transforms.functional').rgb_to_grayscale
        sys.modules[_FUNCTIONAL_TENSOR] = module


def _share_lmdbs() -> None:
    """Have BasicSR's LMDB client read through the environments that this process has open.

    Without this a second dataset of an LMDB in one process ends with lmdb 3's "already open in this process", and so
    does a data worker that was forked while the first was open. Needed if the client opens LMDBs itself. Can go when
    BasicSR opens each once a process.
    """
    backend = import_module('basicsr.utils.file_client').LmdbBackend
    original = backend.__init__
    if not uses(original, 'open'):
        return

    from usrdu_basicsr.storage.lmdb_environments import open_environment

    class Environments(dict):
        """By the client's keys; looked up at each use, as a fork may come between."""

        def __getitem__(self, key: str) -> Any:
            return open_environment(super().__getitem__(key))

    def initialise(self: Any, db_paths: Any, client_keys: Any = 'default', **settings: Any) -> None:
        paths, keys = ([value] if isinstance(value, str) else value for value in (db_paths, client_keys))
        if settings.get('lock') or not settings.get('readonly', True) or len(paths) != len(keys):
            original(self, db_paths, client_keys, **settings)
            return
        self.db_paths = [str(path) for path in paths]
        self._client = Environments(zip(keys, self.db_paths, strict=True))

    backend.__init__ = initialise


def _pass_on_prefetch_errors() -> None:
    """Let what goes wrong in BasicSR's prefetching thread (`prefetch_mode: cpu`) end the run.

    Without this the thread ends alone, and the training waits for its next batch for ever. Needed if the loader starts
    a thread of its own. Can go when BasicSR passes errors on.
    """
    loader = import_module('basicsr.data.prefetch_dataloader').PrefetchDataLoader
    if not uses(loader.__iter__, 'PrefetchGenerator'):
        return

    def iterate(self: Any) -> Iterator[Any]:
        return fetch(super(loader, self).__iter__(), max(self.num_prefetch_queue, 1))

    def fetch(batches: Iterator[Any], ahead: int) -> Iterator[Any]:
        with ThreadPoolExecutor(1) as thread:  # it hands on what is raised
            coming = deque(thread.submit(next, batches, None) for _ in range(ahead))
            while (batch := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, batches, None))
                yield batch

    loader.__iter__ = iterate


def _correct_launchers() -> None:
    """Have BasicSR's launchers write into the working folder, resume without a GPU and name a user's mistakes.

    Without this a BasicSR in site-packages writes experiments there, resuming calls CUDA on every machine and begins an
    epoch anew, and mistakes in our options show up late, as tracebacks. Needed for every `parse_options` that is not
    ours already; what it does decides case by case. Can go when BasicSR has working folders, resumes exactly and on a
    CPU, and lets models check options.
    """
    from usrdu_basicsr.compat.launcher import parse_options as parse_and_check

    original = import_module('basicsr.utils.options').parse_options
    if getattr(original, '__module__', None) == __name__:
        return

    def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        # A launcher run as a program is a second copy of the module, and exists only now.
        _correct_resuming(sys.modules['__main__'])
        return parse_and_check(original, root_path, is_train)

    # Others hold it by name: the launchers, and `basicsr` itself, which imports all they define.
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] == 'basicsr' and getattr(module, 'parse_options', None) is original:
            vars(module)['parse_options'] = parse_options
    if 'basicsr.train' in sys.modules:
        _correct_resuming(sys.modules['basicsr.train'])


def _correct_resuming(launcher: ModuleType) -> None:
    original = getattr(launcher, 'load_resume_state', None)
    if original is None or not hasattr(launcher, 'train_pipeline'):
        return
    if getattr(original, '__module__', None) == __name__:
        return

    from usrdu_basicsr.compat.launcher import working_root
    from usrdu_basicsr.compat.resume import resumption
    from usrdu_basicsr.options.reading import is_ours

    def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
        # `train_pipeline` has just set the root it was called with, and goes on to write TensorBoard's logs there.
        opt['root_path'] = working_root(opt['root_path'])
        load = resumption.load_resume_state if is_ours(opt) or uses(original, 'current_device') else original
        return load(opt)

    vars(launcher)['load_resume_state'] = load_resume_state
    if (build := getattr(launcher, 'build_dataloader', None)) is not None:  # or it takes BasicSR's launcher's
        vars(launcher)['build_dataloader'] = partial(resumption.build_dataloader, build)


def uses(function: Callable[..., Any], name: str) -> bool:
    """Whether the code of `function` mentions the global or attribute `name`."""
    return name in function.__code__.co_names
