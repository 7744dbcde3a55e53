"""Choice of the checkpoint to resume from, and checkpoints that are skipped or rejected."""

import logging
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from basicsr.models import build_model
from basicsr.models.lr_scheduler import MultiStepRestartLR

from tiny_runs import DSN, dsn_options, srn_options, step, unpaired_batch
from usrdu_basicsr.archs import dsn_arch
from usrdu_basicsr.compat import resume
from usrdu_basicsr.compat.preflight import resumes
from usrdu_basicsr.compat.resume import Resumer
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError


def save_state(path: Path, iteration: int) -> None:
    """Save a training state of another package's model and an empty network file."""
    models = path.parents[1] / 'models'
    models.mkdir(exist_ok=True)
    (models / f'net_g_{iteration}.pth').touch()
    path.parent.mkdir(exist_ok=True)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], 1e-3)
    scheduler = MultiStepRestartLR(optimizer, milestones=[2, 4], gamma=0.5)
    weight.sum().backward()
    optimizer.step()
    scheduler.step()
    state = {'epoch': 1, 'iter': iteration}
    torch.save({**state, 'optimizers': [optimizer.state_dict()], 'schedulers': [scheduler.state_dict()]}, path)


def resume_options(folder: Path, auto_resume: bool, **path: str) -> dict:
    """Options of a model of another package."""
    folders = {name: str(folder / name) for name in ('models', 'training_states')}
    paths = {**folders, 'resume_state': None, **path}
    return {'network_g': {}, 'auto_resume': auto_resume, 'rank': 0, 'manual_seed': 1, 'path': paths}


def test_newest_state_is_resumed(tmp_path: Path):
    states = tmp_path / 'training_states'
    for iteration in (5, 200, 30):
        save_state(states / f'{iteration}.state', iteration)
    (states / 'notes.state').touch()
    opt = resume_options(tmp_path, auto_resume=True)
    assert resumes(opt)
    state = Resumer().load_resume_state(opt)
    assert (state['epoch'], state['iter']) == (1, 200)
    assert state['schedulers'][0]['milestones'] == {2: 1, 4: 1}
    assert state['optimizers'][0]['state'][0]['exp_avg'].device.type == 'cpu'
    assert opt['path']['pretrain_network_g'] == str(tmp_path / 'models' / 'net_g_200.pth')
    assert opt['path']['resume_state'] == str(states / '200.state')


def test_dsn_of_stage_2_is_unchanged(tmp_path: Path):
    save_state(tmp_path / 'training_states' / '7.state', 7)
    (tmp_path / 'dsn.pth').touch()
    dsn = {'pretrain_network_dsn': str(tmp_path / 'dsn.pth'), 'param_key_dsn': 'params_ema'}
    opt = resume_options(tmp_path, False, resume_state=str(tmp_path / 'training_states' / '7.state'), **dsn)
    opt['network_dsn'] = {}
    Resumer().load_resume_state(opt)
    assert {key: opt['path'][key] for key in dsn} == dsn


def test_ignored_networks_keep_their_weights(tmp_path: Path):
    save_state(tmp_path / 'training_states' / '7.state', 7)
    (tmp_path / 'other.pth').touch()
    given = {'pretrain_network_g': str(tmp_path / 'other.pth'), 'param_key_g': 'params_ema'}
    state = str(tmp_path / 'training_states' / '7.state')
    opt = resume_options(tmp_path, False, resume_state=state, ignore_resume_networks=['network_g'], **given)
    Resumer().load_resume_state(opt)
    assert {key: opt['path'][key] for key in given} == given


def test_named_state_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save_state(Path('states', 'named.state'), 7)
    opt = resume_options(Path(), False, resume_state='states/named.state')
    assert resumes(opt) and Resumer().load_resume_state(opt)['iter'] == 7
    with pytest.raises(InputNotFoundError, match=r"checkpoint 'none\.state' does not exist"):
        Resumer().load_resume_state(resume_options(Path(), False, resume_state='none.state'))


@pytest.mark.parametrize('auto_resume', [True, False])
def test_no_state_to_resume_from(tmp_path: Path, auto_resume: bool):
    opt = resume_options(tmp_path, auto_resume)
    assert not resumes(opt) and Resumer().load_resume_state(opt) is None


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Options of a stage 1 run with complete checkpoints at iterations 2, 4 and 6.

    Networks have at most 16 channels. The feature head usually has 512, which make a checkpoint of 68 MB.
    """
    convs = dsn_arch._convs
    monkeypatch.setattr(dsn_arch, '_convs', lambda widths, *layers: convs([min(n, 16) for n in widths], *layers))
    opt = dsn_options(tmp_path) | {'auto_resume': True}
    opt['train'] = {key: value for key, value in opt['train'].items() if key != 'perceptual_opt'}
    model = build_model(opt)
    step(model, unpaired_batch())
    for iteration in (2, 4, 6):
        model.save(0, iteration)
    return opt


def state_of(opt: dict, iteration: int) -> Path:
    return Path(opt['path']['training_states']) / f'{iteration}.state'


def network_of(opt: dict, iteration: int, net: str = 'g') -> Path:
    return Path(opt['path']['models']) / f'net_{net}_{iteration}.pth'


def test_newest_complete_state_is_resumed(trained: dict):
    models = Path(trained['path']['models'])
    states = Path(trained['path']['training_states'])
    leftovers = [models / f'.net_g_8.pth.{uuid4().hex}.tmp', states / f'.8.state.{uuid4().hex}.tmp']
    others = [models / '.mine.tmp', models / f'.tiles.{uuid4().hex}.tmp']
    others[1].mkdir()
    for path in (*leftovers, others[0]):
        path.touch()
    resumer = Resumer()
    assert resumer.load_resume_state(trained)['iter'] == 6
    assert resumer.messages == [(logging.INFO, f"Resumed from '{state_of(trained, 6)}' at iteration 6.")]
    assert not any(path.exists() for path in leftovers) and all(path.exists() for path in others)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_shapes(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content['params'] = {name: value[:1] for name, value in content['params'].items()}
    torch.save(content, path)


@pytest.mark.parametrize(
    ('net', 'damage', 'reason'),
    [
        (None, truncate, r"cannot read checkpoint '.*6\.state': corrupt or not a checkpoint"),
        (None, flip_a_bit, r'6\.state.* corrupt .*wrong checksum'),
        (None, lambda path: path.write_bytes(b''), r'6\.state.* corrupt'),
        (None, lambda path: path.write_text('notes'), r'6\.state.* corrupt'),
        (None, lambda path: torch.save({'params': {}}, path), r'is not a training state: missing epoch, iter'),
        (None, lambda path: torch.save({'call': print}, path), r'6\.state.* corrupt'),
        ('g', truncate, r"cannot read checkpoint '.*net_g_6\.pth'"),
        ('d', truncate, r"cannot read checkpoint '.*net_d_6\.pth'"),
        ('g', flip_a_bit, r'net_g_6\.pth.*wrong checksum'),
        ('g', Path.unlink, r"6\.state': network '.*net_g_6\.pth' does not exist"),
        ('d', Path.unlink, r"6\.state': network '.*net_d_6\.pth' does not exist"),
        ('g', change_shapes, r"net_g_6\.pth' does not fit UncertaintyDSN: .* of another shape"),
    ],
)
def test_incomplete_checkpoint_is_skipped(trained: dict, net: str | None, damage, reason: str):
    def damage_at(iteration: int) -> None:
        damage(state_of(trained, iteration) if net is None else network_of(trained, iteration, net))

    damage_at(6)
    named = trained | {'auto_resume': False, 'path': trained['path'] | {'resume_state': str(state_of(trained, 6))}}
    with pytest.raises((InputError, InputNotFoundError), match=reason):  # a state named in the options has no fallback
        Resumer().load_resume_state(named)

    resumer = Resumer()
    assert resumer.load_resume_state(trained | {'path': dict(trained['path'])})['iter'] == 4
    (level, warning), *renamed, last = resumer.messages
    assert level == logging.WARNING and warning.startswith('Checkpoint skipped: ')
    assert last == (logging.INFO, f"Resumed from '{state_of(trained, 4)}' at iteration 4.")
    superseded = Path(f'{state_of(trained, 6)}.superseded')
    if renamed:
        assert renamed[0][1] == f"Renamed later training state '{state_of(trained, 6)}' to '6.state.superseded'."
        superseded.rename(state_of(trained, 6))
    else:
        assert not state_of(trained, 6).exists()

    for iteration in (4, 2):
        damage_at(iteration)
    with pytest.raises(
        InputError, match=rf'--auto_resume: no complete checkpoint among the 3 states in .*{reason}.*Omit --auto_resume'
    ):
        Resumer().load_resume_state(trained)


def test_states_of_other_runs_are_rejected(trained: dict, tmp_path: Path):
    named = trained['path'] | {'resume_state': str(state_of(trained, 6))}
    other_stage = srn_options(tmp_path) | {'auto_resume': False, 'path': named}
    with pytest.raises(InputError, match=r"6\.state': got model_type UncertaintyDSNModel, expected Gradient"):
        Resumer().load_resume_state(other_stage)
    wider = trained | {'network_g': DSN | {'num_feat': 12}}
    with pytest.raises(
        InputError, match=r'no complete checkpoint among the 3 .*net_g_6\.pth. does not fit UncertaintyDSN'
    ):
        Resumer().load_resume_state(wider)
    with pytest.raises(InputError, match='got UncertaintyDSN of scale 2, expected scale 4 of the options'):
        Resumer().load_resume_state(trained | {'network_g': DSN | {'scale': 2}})


def test_later_states_are_renamed(trained: dict):
    """Otherwise, `--auto_resume` would resume from a state of the abandoned run."""
    named = trained['path'] | {'resume_state': str(state_of(trained, 2))}
    assert Resumer().load_resume_state(trained | {'auto_resume': False, 'path': named})['iter'] == 2
    assert Resumer().load_resume_state(trained)['iter'] == 2
    assert len(list(Path(trained['path']['training_states']).glob('*.state.superseded'))) == 2


@pytest.mark.parametrize('val', [{}, {'val': {'save_img': False}}, {'val': {'metrics': {'ssim': {'type': 'x'}}}}])
def test_resuming_without_the_previous_metrics(trained: dict, val: dict):
    model = build_model(trained)
    model.history.add(2, 'pairs', {'psnr': 20.0})
    resumer = Resumer()
    opt = {key: value for key, value in trained.items() if key != 'val'} | val
    build_model(opt).resume_training(resumer.load_resume_state(opt))


def test_models_of_other_packages(tmp_path: Path):
    """The networks that such a model loads are unknown and not checked. A corrupt state is skipped and logged."""
    for iteration in (3, 6):
        save_state(tmp_path / 'training_states' / f'{iteration}.state', iteration)
    truncate(tmp_path / 'training_states' / '6.state')
    opt = resume_options(tmp_path, auto_resume=True) | {'network_teacher': {}}
    resumer = Resumer()
    assert resumer.load_resume_state(opt)['iter'] == 3
    assert [level for level, _ in resumer.messages] == [logging.WARNING, logging.INFO]
    assert (tmp_path / 'training_states' / '6.state').is_file()


def test_seed_of_the_training_is_kept(trained: dict):
    resumer = Resumer()
    opt = trained | {'manual_seed': 1234}  # BasicSR draws a random seed if the options have none
    resumer.load_resume_state(opt)
    assert opt['manual_seed'] == 5
    assert resumer.messages[-1] == (logging.WARNING, 'Kept manual_seed 5 of the resumed training.')


def test_batch_of_several_gpus_in_one_process_is_reported(trained: dict, monkeypatch: pytest.MonkeyPatch):
    """DataParallel needs a batch for each GPU, which BasicSR's log does not mention."""
    messages: list[str] = []
    monkeypatch.setattr(resume, 'get_root_logger', lambda: SimpleNamespace(warning=messages.append))
    monkeypatch.setattr(resume.stop_signal, 'install', lambda epoch: None)
    dataset_opt = {'phase': 'train', 'batch_size_per_gpu': 3}
    for gpus, distributed in ((0, False), (1, False), (2, True), (2, False)):
        resumer = Resumer()
        resumer.opt = trained | {'num_gpu': gpus, 'dist': distributed}
        resumer.build_dataloader(lambda *args, **settings: SimpleNamespace(), range(7), dataset_opt, sampler=range(7))
    (message,) = messages
    assert message.startswith('Each step uses 6 patches: batch_size_per_gpu 3 on 2 GPUs of this process.')
