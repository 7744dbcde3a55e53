"""Patches are applied where BasicSR or torchvision need them and leave working versions unchanged."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import basicsr.test
import basicsr.train
import lmdb
import pytest
import torch
from basicsr.data.prefetch_dataloader import PrefetchDataLoader
from basicsr.models.base_model import BaseModel
from basicsr.utils import dist_util, options
from basicsr.utils.file_client import FileClient, LmdbBackend

from usrdu_basicsr.compat import basicsr_patches, dist_patches, launcher, patching
from usrdu_basicsr.compat.resume import resumer
from usrdu_basicsr.utils.errors import InputError

FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'


def patched() -> list[object]:
    return [
        sys.modules[FUNCTIONAL_TENSOR],
        dist_util._init_dist_pytorch,
        dist_util._init_dist_slurm,
        BaseModel.model_to_device,
        LmdbBackend.__init__,
        options.parse_options,
        basicsr.train.load_resume_state,
        PrefetchDataLoader.__iter__,
    ]


def test_patches_are_idempotent():
    before = patched()
    basicsr_patches.apply_before_import()
    basicsr_patches.apply()
    assert all(new is old for new, old in zip(patched(), before, strict=True))


def test_states_of_patches(monkeypatch: pytest.MonkeyPatch):
    """A patch stays active when it is applied again. One that is not needed says what would need it."""
    monkeypatch.setattr(patching, '_active', set())
    needed = [True]

    def _provide_it() -> bool:
        """Provide it.

        Without it, nothing
        works. Needed if it is missing. Can be removed later.
        """
        return needed.pop() if needed else False

    def already_there() -> bool:
        """Without it, nothing works. Needed if it is missing. Can be removed later."""
        return False

    for _ in range(2):
        patching.apply_patches([_provide_it, already_there])
        assert list(patching.patch_states([_provide_it, already_there])) == [
            patching.PatchState('provide_it', True, 'Without it, nothing works.'),
            patching.PatchState('already_there', False, 'Needed if it is missing.'),
        ]


def test_all_patches_are_active_and_have_a_reason():
    patches = (*basicsr_patches.PATCHES, *dist_patches.PATCHES)
    states = {state.name: state for state in patching.patch_states(patches)}
    assert list(states) == [
        *('provide_functional_tensor', 'share_lmdbs', 'propagate_prefetch_errors', 'patch_launchers'),
        'silence_launcher_warning',
        *('init_dist_without_gpu', 'distribute_without_gpu'),
    ]
    for state in states.values():
        assert state.active and state.reason.startswith('Without it, ') and state.reason.endswith('.')


def test_functional_tensor_is_provided_if_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, FUNCTIONAL_TENSOR)
    basicsr_patches.apply_before_import()
    from torchvision.transforms.functional_tensor import rgb_to_grayscale

    gray = rgb_to_grayscale(torch.tensor([1.0, 0.5, 0.25]).view(3, 1, 1))
    assert gray.item() == pytest.approx(0.2989 + 0.587 / 2 + 0.114 / 4, abs=1e-3)


def test_existing_functional_tensor_is_unchanged(monkeypatch: pytest.MonkeyPatch):
    existing = ModuleType(FUNCTIONAL_TENSOR)
    monkeypatch.setitem(sys.modules, FUNCTIONAL_TENSOR, existing)
    basicsr_patches.apply_before_import()
    assert sys.modules[FUNCTIONAL_TENSOR] is existing


def test_lmdb_clients_share_environments(tmp_path: Path):
    path = str(tmp_path / 'a.lmdb')
    with lmdb.open(path) as environment, environment.begin(write=True) as transaction:
        transaction.put(b'key', b'value')
    first, second = (FileClient('lmdb', db_paths=path) for _ in range(2))
    assert first.get('key') == second.get('key') == b'value' and first.get('other') is None
    both = FileClient('lmdb', db_paths=[path, path], client_keys=['gt', 'lq'])
    assert both.get('key', 'gt') == both.get('key', 'lq') == b'value'
    with pytest.raises(AssertionError, match='gt is not in lmdb clients'):
        first.get('key', 'gt')
    with pytest.raises(AssertionError, match='should have the same length'):
        FileClient('lmdb', db_paths=[path], client_keys=['gt', 'lq'])
    with pytest.raises(InputError, match='cannot open LMDB'):
        FileClient('lmdb', db_paths=str(tmp_path)).get('key')


def test_lmdb_clients_with_other_settings_are_unchanged(tmp_path: Path):
    path = str(tmp_path / 'a.lmdb')
    client = FileClient('lmdb', db_paths=path, readonly=False)
    assert client.get('key') is None and Path(path, 'data.mdb').is_file()


def test_missing_torchvision_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    def fail(name: str) -> None:
        raise ModuleNotFoundError(name='torchvision')

    monkeypatch.setattr(basicsr_patches, 'import_module', fail)
    with pytest.raises(ModuleNotFoundError) as caught:
        basicsr_patches.apply_before_import()
    assert caught.value.name == 'torchvision'


@pytest.mark.parametrize(('gpu', 'expected'), [(True, ['BasicSR']), (False, ['gloo'])])
def test_init_dist(monkeypatch: pytest.MonkeyPatch, gpu: bool, expected: list[str]):
    calls: list[str] = []

    def needs_gpu(backend: str) -> None:
        calls.append('BasicSR')
        torch.cuda.set_device(0)

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend: calls.append(backend))
    monkeypatch.setattr(dist_util, '_init_dist_pytorch', needs_gpu)
    dist_patches.apply()
    dist_util.init_dist('pytorch')
    assert calls == expected


def test_init_dist_by_slurm_without_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / 'scontrol').write_text('#!/bin/sh\necho node7\necho node8\n')
    (tmp_path / 'scontrol').chmod(0o755)
    slurm = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4', 'SLURM_NODELIST': 'node[7-8]', 'SLURM_LOCALID': '1'}
    for name, value in {**slurm, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}.items():
        monkeypatch.setenv(name, value)
    variables = ['MASTER_ADDR', 'MASTER_PORT', 'WORLD_SIZE', 'RANK', 'LOCAL_RANK']
    for name in variables:
        monkeypatch.setenv(name, '')  # restores the variable after the test
        monkeypatch.delenv(name)
    backends: list[str] = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend: backends.append(backend))
    dist_util.init_dist('slurm', port=1234)
    assert backends == ['gloo']
    assert [os.environ[name] for name in variables] == ['node7', '1234', '4', '3', '1']


def test_working_distributed_functions_are_unchanged(monkeypatch: pytest.MonkeyPatch):
    def working(*_: object) -> None: ...

    monkeypatch.setattr(dist_util, '_init_dist_pytorch', working)
    monkeypatch.setattr(BaseModel, 'model_to_device', working)
    dist_patches.apply()
    assert dist_util._init_dist_pytorch is working
    assert BaseModel.model_to_device is working


def test_model_to_device_is_unchanged_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    def needs_gpu(self: object, net: object) -> tuple[str, object]:
        return 'BasicSR', torch.cuda.current_device

    monkeypatch.setattr(BaseModel, 'model_to_device', needs_gpu)
    dist_patches.apply()
    assert BaseModel.model_to_device is not needs_gpu
    for device, dist in (('cuda', True), ('cuda', False), ('cpu', False)):
        model = SimpleNamespace(device=torch.device(device), opt={'dist': dist})
        assert BaseModel.model_to_device(model, None)[0] == 'BasicSR'


class DatasetWithBadImage(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        if index == 2:
            raise InputError('bad image')
        return index


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('queue', [0, 1, 5])
def test_prefetch_errors_are_raised(workers: int, queue: int):
    fork = {'num_workers': workers, 'multiprocessing_context': 'fork'} if workers else {}
    batches = iter(PrefetchDataLoader(queue, dataset=DatasetWithBadImage(), **fork))
    assert [next(batches).item(), next(batches).item()] == [0, 1]
    with pytest.raises(InputError, match='bad image'):
        next(batches)
    assert [batch.item() for batch in PrefetchDataLoader(queue, dataset=range(3))] == [0, 1, 2]


def test_all_modules_have_the_patched_parse_options():
    assert options.parse_options.__module__ == 'usrdu_basicsr.compat.basicsr_patches'
    for module in (basicsr, basicsr.train, basicsr.test):
        assert module.parse_options is options.parse_options


def fake_launcher(load_resume_state: object) -> ModuleType:
    module = ModuleType('__main__')
    module.train_pipeline, module.load_resume_state = None, load_resume_state
    module.build_dataloader = lambda dataset, dataset_opt, **settings: (dataset, dataset_opt, settings)
    return module


def test_launcher_that_resumes_without_gpu_is_unchanged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher, 'working_root', lambda root: root + '/used')
    module = fake_launcher(lambda opt: ('original', opt['root_path']))
    basicsr_patches._patch_resuming(module)
    assert module.load_resume_state({'root_path': 'given'}) == ('original', 'given/used')
    assert module.build_dataloader(1, {'phase': 'train'}, sampler=2) == (1, {'phase': 'train'}, {'sampler': 2})


def test_launcher_that_needs_a_gpu_to_resume_is_patched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    module = fake_launcher(lambda opt: torch.cuda.current_device())
    basicsr_patches._patch_resuming(module)
    replacement = module.load_resume_state
    basicsr_patches._patch_resuming(module)
    assert module.load_resume_state is replacement
    paths = {'training_states': str(tmp_path)}
    opt = {'root_path': str(tmp_path), 'auto_resume': False, 'rank': 0, 'manual_seed': 0, 'path': paths}
    assert replacement(opt) is None


def test_launcher_that_uses_create_train_val_dataloader(tmp_path: Path):
    """The resumer also builds the data loaders of a launcher that calls this function of `basicsr.train`."""
    module = fake_launcher(lambda opt: torch.cuda.current_device())
    del module.build_dataloader
    basicsr_patches._patch_resuming(module)
    opt = {'root_path': str(tmp_path), 'auto_resume': False, 'rank': 0, 'manual_seed': 0, 'path': {}}
    module.load_resume_state(opt)
    assert not hasattr(module, 'build_dataloader')
    assert basicsr.train.build_dataloader.func.__module__ == basicsr_patches.__name__ and resumer.opt is opt


def test_other_programs_are_unchanged():
    module = ModuleType('__main__')
    module.load_resume_state = before = lambda: torch.cuda.current_device()
    basicsr_patches._patch_resuming(module)
    assert module.load_resume_state is before
