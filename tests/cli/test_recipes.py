"""`usrdu recipes` lists, prints and copies recipes; copies contain the user's folders and pass the checks of a run."""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.options import parse_options

from sample_images import downsample_images, write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.cli import recipes as command
from usrdu_basicsr.inference.generate_lr import generate_set
from usrdu_basicsr.options.recipe_copy import SCHEMA, Folders, copy_recipe
from usrdu_basicsr.options.recipes import SCHEMA_LINE, RecipeFile, list_recipes, recipes_folder
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

RECIPES = list_recipes()
NASTY = ["it's # a: folder", 'null', '123', '- x', 'ä "b"', "a'b", '{x}', '*y', '$HOME `z`', 'x' * 90 + ' ' + 'y' * 90]


def usrdu(*arguments: str) -> int:
    """Run `usrdu recipes`, without the handling of errors in the main program."""
    parser = argparse.ArgumentParser('usrdu recipes')
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with the folders of the images."""
    monkeypatch.chdir(tmp_path)
    for name in ('mine/HR', 'mine/camera', 'mine/val/HR', 'mine/val/camera'):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


TRAIN = ('--hr', 'mine/HR', '--lr', 'mine/camera', '-o', 'my_options')
VALIDATION = ('--val_hr', 'mine/val/HR', '--val_lr', 'mine/val/camera')


def leaves(value: object, keys: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Values of nested dictionaries by path."""
    if not isinstance(value, dict):
        return {keys: value}
    return {path: leaf for key, item in value.items() for path, leaf in leaves(item, (*keys, key)).items()}


def changes(path: Path) -> dict[str, object]:
    """Values of a copied file that differ from its recipe `track1` or `track2`; None if removed."""
    folder = 'track2' if 'kernels:' in path.read_text() else 'track1'
    old, new = (leaves(yaml.safe_load(file.read_text())) for file in (recipes_folder() / folder / path.name, path))
    return {': '.join(keys): new.get(keys) for keys in old | new if old.get(keys) != new.get(keys)}


def test_list(capsys: pytest.CaptureFixture):
    assert usrdu('list') == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index('track1')
    assert lines[start + 3] == (
        '  track1/train_dsn: stage 1. NTIRE 2020 RWSR track 1 (processing artefacts), stage 1, published settings.'
    )
    assert sum(line.startswith('  ') for line in lines) == sum(map(len, RECIPES.values()))
    assert '  demo/train_srn: stage 2. Demo, stage 2: super-resolution for the camera, trained on LR' in '\n'.join(
        lines
    )


def test_show(capsys: pytest.CaptureFixture):
    assert usrdu('show', 'track1/train_dsn') == usrdu('show', 'track1/train_dsn.yml') == 0
    assert capsys.readouterr().out == (recipes_folder() / 'track1' / 'train_dsn.yml').read_text() * 2
    usrdu('show', 'track2')
    documents = yaml.safe_load_all(capsys.readouterr().out)
    assert [options['name'] for options in documents] == [
        *('track2_dsn_test', 'track2_srn_test', 'track2_dsn', 'track2_srn')
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('show', 'trak1'), r"unknown recipe 'trak1': did you mean 'track1'\?$"),
        (('show', 'demo/train'), r"unknown recipe 'demo/train': did you mean 'demo/train_...'\?$"),
        (('copy', 'track1/train_dsn', *TRAIN), "unknown recipe 'track1/train_dsn': did you mean 'track1'"),
        (('copy', 'track1', *TRAIN, '--name', 'a/b'), "--name: got 'a/b'"),
        (('copy', 'track1', *TRAIN, '--name', ''), "--name: got ''"),
        (('copy', 'track1', *TRAIN, '--generated', 'a\nb'), r"--generated: got 'a\\nb', expected one line"),
        (
            ('copy', 'track1', *TRAIN, '--val_lr', 'mine'),
            "--val_lr: recipe 'track1' validates on pairs",
        ),
        (('copy', 'demo', *TRAIN, '--val_hr', 'mine'), "--val_hr: recipe 'demo' .* got no --val_lr"),
    ],
)
def test_errors(here: Path, arguments: tuple[str, ...], message: str):
    with pytest.raises(InputError, match=message):
        usrdu(*arguments)
    assert not Path('my_options').exists()


@pytest.mark.parametrize('option', ['--hr', '--lr', '--val_hr', '--val_lr'])
def test_missing_folder(here: Path, option: str):
    with pytest.raises(InputNotFoundError, match=r"folder 'none' does not exist\. Relative paths start at"):
        usrdu('copy', 'track1', *TRAIN, *VALIDATION, option, 'none')
    assert not Path('my_options').exists()


def test_copy_of_track1(here: Path, capsys: pytest.CaptureFixture):
    assert usrdu('copy', 'track1', *TRAIN, *VALIDATION) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f'Wrote my_options/{file.path.name}' for file in RECIPES['track1']),
        'HR images: mine/HR',
        'camera images: mine/camera',
        'generated LR: mine/generated',
        'validation, HR images: mine/val/HR',
        'validation, camera images: mine/val/camera',
        "Download 'ESRGAN_PSNR_SRx4_DF2K_official-150ff491.pth' from https://github.com/XPixelGroup/BasicSR/"
        'blob/master/docs/ModelZoo.md to '
        "'experiments/pretrained_models/ESRGAN_PSNR_SRx4_DF2K_official-150ff491.pth', or set pretrain_network_g: ~",
    ]
    validation = {
        'datasets: val: name': 'my_validation',
        'datasets: val: dataroot_gt': 'mine/val/HR',
        'datasets: val: dataroot_lq': 'mine/val/camera',
    }
    assert changes(Path('my_options/train_dsn.yml')) == validation | {
        'name': 'my_dsn',
        'datasets: train: name': 'my',
        'datasets: train: dataroot_gt': 'mine/HR',
        'datasets: train: dataroot_lq': 'mine/camera',
    }
    assert changes(Path('my_options/train_srn.yml')) == validation | {
        'name': 'my_srn',
        'datasets: train: name': 'my',
        'datasets: train: dataroot_gt': 'mine/HR',
        'datasets: train: dataroot_lq': 'mine/generated/lr',
        'datasets: train: dataroot_log_scale': 'mine/generated/log_scale',
    }
    assert changes(Path('my_options/train_srn_on_the_fly.yml')) == validation | {
        'name': 'my_srn_on_the_fly',
        'datasets: train: name': 'my',
        'datasets: train: dataroot_gt': 'mine/HR',
        'path: pretrain_network_dsn': 'experiments/my_dsn/models/net_g_latest.pth',
    }
    assert changes(Path('my_options/test_srn.yml')) == {
        'name': 'my_srn_test',
        'datasets: test_1: name': 'my_validation',
        'datasets: test_1: dataroot_gt': 'mine/val/HR',
        'datasets: test_1: dataroot_lq': 'mine/val/camera',
        'path: pretrain_network_g': 'experiments/my_srn/models/net_g_latest.pth',
    }


def test_comments_of_a_copy(here: Path):
    folders = Folders('mine/HR', 'mine/camera', generated='a "b"')
    copy_recipe(RECIPES['track1'], folders, Path('my options'))
    text = Path('my options/train_srn.yml').read_text()
    first, _, text = text.split('\n', 2)
    schema = Path(first.removeprefix('# yaml-language-server: $schema='))
    assert schema.is_absolute() and json.loads(schema.read_text())['title'] == 'Options file of usrdu_basicsr'
    assert text.startswith(
        '#   usrdu generate -i mine/HR -o \'a "b"\' \\\n'
        '#     --model_path experiments/my_dsn/models/net_g_latest.pth\n'
        "#   usrdu train -opt 'my options'/train_srn.yml\n"
        'name: my_srn\n'
    )
    original = RECIPES['track1'][-2].text
    assert text[text.index('network_g:') :] == original[original.index('network_g:') :]
    text = Path('my options/train_dsn.yml').read_text()
    assert '    dataroot_gt: mine/HR\n    dataroot_lq: mine/camera\n    gt_size: 256\n' in text
    assert 'num_gpu: auto  # all GPUs, or the CPU if there is none' in text


@pytest.mark.parametrize('recipe', RECIPES)
def test_read_back_with_special_characters(here: Path, monkeypatch: pytest.MonkeyPatch, recipe: str):
    """Every value of every recipe, for relative, absolute and home folders."""
    monkeypatch.setenv('HOME', str(here))
    folder = recipes_folder() / recipe
    for index, special in enumerate(NASTY):
        given = [special, str(here / f'{special}2'), f'~/{special}3', f'./{special}4', f'{special}/lr/']
        hr, lr, generated, val_hr, val_lr = given
        expanded = {name: os.path.expanduser(path).rstrip('/') for name, path in zip('hlgvw', given, strict=True)}
        for name in 'hlvw':
            Path(expanded[name]).mkdir(parents=True, exist_ok=True)
        output = here / f'out {special} {index}'
        copied = copy_recipe(RECIPES[recipe], Folders(hr, lr, generated, val_hr, val_lr), output, f'n {special}')
        for path, text in copied.files.items():
            assert path.read_text() == text
            new, old = (leaves(yaml.safe_load(file.read_text())) for file in (path, folder / path.name))
            assert new.keys() == old.keys()
            assert new == expected_values(old, expanded, recipe, f'n {special}')
            for line in text.splitlines():
                if line.startswith('#   '):
                    shlex.split(line.removeprefix('#').removesuffix('\\'))  # no unbalanced quotes


def expected_values(old: dict, folders: dict[str, str], recipe: str, name: str) -> dict:
    """Values of a recipe with the user's folders and names."""
    generated = ('datasets', 'train', 'dataroot_log_scale') in old
    expected = {
        ('datasets', 'train', 'dataroot_gt'): folders['h'],
        ('datasets', 'train', 'dataroot_lq'): folders['g'] + '/lr' if generated else folders['l'],
        ('datasets', 'train', 'dataroot_log_scale'): folders['g'] + '/log_scale',
        ('train', 'kernels'): str(Path(folders['l']).parent / 'kernels' / 'x4'),
        ('datasets', 'train', 'name'): name,
        ('name',): old['name',].replace(recipe, name),
    }
    for phase in ('val', 'test_1'):
        expected[('datasets', phase, 'dataroot_gt')] = folders['v']
        expected[('datasets', phase, 'dataroot_lq')] = folders['w']
        expected[('datasets', phase, 'name')] = f'{name}_validation'

    def renamed(value: object) -> object:
        return value.replace(f'experiments/{recipe}_', f'experiments/{name}_') if isinstance(value, str) else value

    return {keys: expected.get(keys, renamed(value)) for keys, value in old.items()}


def test_copy_without_validation(here: Path, capsys: pytest.CaptureFixture):
    usrdu('copy', 'track1', *TRAIN)
    assert sorted(os.listdir('my_options')) == ['train_dsn.yml', 'train_srn.yml', 'train_srn_on_the_fly.yml']
    for name in os.listdir('my_options'):
        original = yaml.safe_load((recipes_folder() / 'track1' / name).read_text())
        copied = yaml.safe_load(Path('my_options', name).read_text())
        assert list(copied['datasets']) == ['train'] and copied['val'] == original['val']
    left_out = [line for line in capsys.readouterr().out.splitlines() if line.startswith('Left out')]
    assert left_out == [
        'Left out: test_dsn.yml (needs --val_hr, --val_lr)',
        'Left out: test_srn.yml (needs --val_hr, --val_lr)',
        *(f'Left out: datasets: val of {name} (needs --val_hr, --val_lr)' for name in sorted(os.listdir('my_options'))),
    ]


def test_track2_validates_with_one_folder(here: Path, capsys: pytest.CaptureFixture):
    usrdu('copy', 'track2', *TRAIN, '--val_lr', 'mine/val/camera')
    output = capsys.readouterr().out
    assert (
        'Left out: test_dsn.yml (needs --val_hr)\nLeft out: datasets: val of train_dsn.yml (needs --val_hr)' in output
    )
    assert 'blur kernels: mine/kernels\n' in output
    assert sorted(os.listdir('my_options')) == ['test_srn.yml', 'train_dsn.yml', 'train_srn.yml']
    changed = changes(Path('my_options/train_dsn.yml'))
    assert changed['train: kernels'] == 'mine/kernels/x4'
    assert changed['datasets: val: dataroot_gt'] is None
    text = Path('my_options/train_dsn.yml').read_text()
    assert '#   usrdu kernels -i mine/camera -o mine/kernels\n' in text
    validation = yaml.safe_load(Path('my_options/train_srn.yml').read_text())['datasets']['val']
    assert (validation['type'], validation['dataroot_lq']) == ('SingleImageDataset', 'mine/val/camera')


def test_comparison_of_the_demo_is_left_out(here: Path, capsys: pytest.CaptureFixture):
    usrdu('copy', 'demo', *TRAIN, *VALIDATION)
    output = capsys.readouterr().out
    assert "Left out: train_srn_bicubic.yml (needs 'datasets/demo/HR_bicubic')\n" in output
    assert 'Download' not in output
    assert sorted(os.listdir('my_options')) == ['train_dsn.yml', 'train_srn.yml']


@pytest.mark.parametrize('validation', [(), VALIDATION])
def test_copies_pass_the_checks_of_a_run(here: Path, monkeypatch: pytest.MonkeyPatch, validation: tuple[str, ...]):
    write_sample_images(Path('mine/HR'), 2, 80, 96)
    write_sample_images(Path('mine/camera'), 2, 24, 32)
    write_sample_images(Path('mine/val/HR'), 1, 80, 96)
    downsample_images(Path('mine/val/HR'), Path('mine/val/camera'))
    torch.save({'params': UncertaintyDSN(num_feat=4, num_block=0).state_dict()}, 'dsn.pth')
    generate_set(Path('mine/HR'), Path('mine/generated'), 'dsn.pth', torch.device('cpu'))
    usrdu('copy', 'demo', *TRAIN, *validation)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    for stage in ('dsn', 'srn'):
        arguments = ['-opt', f'my_options/train_{stage}.yml', '--force_yml', 'datasets:train:gt_size=64']
        monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
        opt = parse_options(str(here), True)[0]
        assert opt['name'] == f'my_{stage}' and ('val' in opt['datasets']) == bool(validation)


def test_existing_files_are_kept(here: Path):
    usrdu('copy', 'track1', *TRAIN)
    Path('my_options/train_srn.yml').unlink()
    Path('my_options/train_dsn.yml').write_text('edited')
    message = r"output 'my_options': train_dsn\.yml, train_srn_on_the_fly\.yml already exist\. .* pass --overwrite"
    with pytest.raises(InputError, match=message):
        usrdu('copy', 'track1', *TRAIN)
    assert Path('my_options/train_dsn.yml').read_text() == 'edited'
    assert not Path('my_options/train_srn.yml').exists()
    usrdu('copy', 'track1', *TRAIN, '--overwrite', '--name', 'other')
    assert yaml.safe_load(Path('my_options/train_dsn.yml').read_text())['name'] == 'other_dsn'


def test_schema_line(here: Path):
    """It is no part of the description, and names the installed schema in copies."""
    original = RECIPES['track1'][2]
    folder = here / 'track1'
    folder.mkdir()
    path = folder / original.path.name
    body = original.text.removeprefix(SCHEMA_LINE + '../../usrdu_basicsr/options/schema.json\n')
    path.write_text(f'{SCHEMA_LINE}../../usrdu_basicsr/options/schema.json\n{body}')
    file = RecipeFile(path)
    assert file.description == original.description != ''
    copied = copy_recipe([file], Folders('mine/HR', 'mine/camera'), here / 'out')
    (text,) = copied.files.values()
    assert text.splitlines()[0] == f'{SCHEMA_LINE}{SCHEMA}'
    assert SCHEMA.is_absolute() and SCHEMA.parent.name == 'options'
