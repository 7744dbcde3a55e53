"""Patches of third parties, all of which stand here: BasicSR 1.4.2 with today's torchvision, on machines without a GPU.

Each says what breaks without it, how it tells that it is needed, and when it can go. None changes what works already,
and applying them again changes nothing: a replaced function no longer shows the need.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'


def apply_before_import() -> None:
    """Apply what `import basicsr` itself needs."""
    _provide_functional_tensor()


def apply() -> None:
    """Apply the patches of BasicSR's own functions, importing it if it is not yet."""
    _init_dist_without_gpu()
    _distribute_without_gpu()
    _share_lmdbs()
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


def _init_dist_without_gpu() -> None:
    """Let `init_dist` work without a GPU, through gloo; with GPUs it stays as it is.

    Without this it divides by the number of GPUs and asks for NCCL. Needed if its functions call `cuda.set_device`. Can
    go when BasicSR chooses the backend by the machine.
    """
    dist_util = import_module('basicsr.utils.dist_util')
    for name, on_cpu in (('_init_dist_pytorch', _init_gloo), ('_init_dist_slurm', _init_gloo_by_slurm)):
        on_gpu = getattr(dist_util, name, None)
        if on_gpu is not None and _uses(on_gpu, 'set_device'):
            setattr(dist_util, name, _by_machine(on_gpu, on_cpu))


def _by_machine(on_gpu: Callable[..., None], on_cpu: Callable[..., None]) -> Callable[..., None]:
    # The machine is asked at the call, as asking it initialises CUDA's driver.
    def initialise(*args: Any, **kwargs: Any) -> None:
        available = import_module('torch.cuda').is_available()
        (on_gpu if available else on_cpu)(*args, **kwargs)

    return initialise


def _init_gloo(backend: str, **kwargs: Any) -> None:
    backend = 'gloo' if backend == 'nccl' else backend
    import_module('torch.distributed').init_process_group(backend=backend, **kwargs)


def _init_gloo_by_slurm(backend: str, port: int | None = None) -> None:
    # the variables that BasicSR sets from Slurm's
    hosts = subprocess.run(
        ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']], check=True, capture_output=True, text=True
    )
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', '0')
    _init_gloo(backend)


def _distribute_without_gpu() -> None:
    """Let `BaseModel.model_to_device` distribute a network that is on the CPU.

    Without this it hands CUDA's current device to DistributedDataParallel. Needed if it asks for that device. Can go
    when BasicSR leaves out `device_ids` on the CPU.
    """
    base_model = import_module('basicsr.models.base_model').BaseModel
    original = base_model.model_to_device
    if not _uses(original, 'current_device'):
        return

    def model_to_device(self: Any, net: nn.Module) -> nn.Module:
        if self.device.type != 'cpu' or not self.opt['dist']:
            return original(self, net)
        find_unused = self.opt.get('find_unused_parameters', False)
        parallel = import_module('torch.nn.parallel')
        return parallel.DistributedDataParallel(net.to(self.device), find_unused_parameters=find_unused)

    base_model.model_to_device = model_to_device


def _share_lmdbs() -> None:
    """Have BasicSR's LMDB client read through the environments that this process has open.

    Without this a second dataset of an LMDB in one process ends with lmdb 3's "already open in this process", and so
    does a data worker that was forked while the first was open. Needed if the client opens LMDBs itself. Can go when
    BasicSR opens each once a process.
    """
    backend = import_module('basicsr.utils.file_client').LmdbBackend
    original = backend.__init__
    if not _uses(original, 'open'):
        return

    from usrdu_basicsr.storage.environments import open_environment

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


def _correct_launchers() -> None:
    """Have BasicSR's launchers write into the working folder, resume without a GPU and name a user's mistakes.

    Without this a BasicSR in site-packages writes experiments there, resuming calls CUDA on every machine and begins an
    epoch anew, and mistakes in our options show up late, as tracebacks. Needed for every `parse_options` that is not
    ours already; what it does decides case by case. Can go when BasicSR has working folders, resumes exactly and on a
    CPU, and lets models check options.
    """
    from usrdu_basicsr import _launch

    original = import_module('basicsr.utils.options').parse_options
    if getattr(original, '__module__', None) == __name__:
        return

    def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        # A launcher run as a program is a second copy of the module, and exists only now.
        _correct_resuming(sys.modules['__main__'])
        return _launch.parse_options(original, root_path, is_train)

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

    from usrdu_basicsr._launch import working_root
    from usrdu_basicsr._resume import Resumption, is_ours

    resumption = Resumption()
    build = launcher.build_dataloader

    def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
        # `train_pipeline` has just set the root it was called with, and goes on to write TensorBoard's logs there.
        opt['root_path'] = working_root(opt['root_path'])
        load = resumption.load_resume_state if is_ours(opt) or _uses(original, 'current_device') else original
        return load(opt)

    def build_dataloader(dataset: Any, dataset_opt: dict[str, Any], **settings: Any) -> Any:
        return resumption.build_dataloader(build, dataset, dataset_opt, **settings)

    vars(launcher).update(load_resume_state=load_resume_state, build_dataloader=build_dataloader)


def _uses(function: Callable[..., Any], name: str) -> bool:
    """Whether the code of `function` mentions the global or attribute `name`."""
    return name in function.__code__.co_names
