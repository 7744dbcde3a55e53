"""Options files as they are read: locations, duplicates, --force_yml, and files that cannot be read."""

import textwrap
from pathlib import Path

import pytest
import yaml

from usrdu_basicsr.options.reading import OptionsFile, read_model_type, read_options_file
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

TEXT = """
name: run
train: &shared
  total_iter: !!float 5e3
  losses:
    - {type: A}
    - type: B
val:
  <<: *shared
  total_iter: 7
empty: ~
"""


def read(folder: Path, text: str, *forced: str) -> OptionsFile:
    path = folder / 'options.yml'
    path.write_text(textwrap.dedent(text).lstrip())
    return read_options_file(str(path), forced)


def line(file: OptionsFile, *path: str | int) -> int:
    location = file.location(path)
    assert location.source == file.path
    return location.line


def test_locations(tmp_path: Path):
    file = read(tmp_path, TEXT)
    assert file.options == yaml.safe_load(TEXT)
    assert [line(file, 'name'), line(file, 'train', 'total_iter')] == [1, 3]
    assert line(file, 'train', 'losses', 1, 'type') == 6
    assert line(file, 'val', 'losses', 0, 'type') == 5, 'merged key'
    assert line(file, 'val', 'total_iter') == 9
    assert line(file, 'val', 'missing') == 7, 'its section'
    assert line(file, 'missing') == 1
    assert str(file.location(('name',))) == f'{file.path}:1'
    assert not file.problems


def test_duplicates(tmp_path: Path):
    file = read(tmp_path, 'a: {b: 1, c: 2,\n b: 3}\na: 4\nd: [{e: 1, e: 2}]\n')
    assert [str(problem).removeprefix(file.path) for problem in file.problems] == [
        ':2: a: b occurs twice, first in line 1. Remove one of them',
        ':3: a occurs twice, first in line 1. Remove one of them',
        ':4: d: 0: e occurs twice, first in line 4. Remove one of them',
    ]


@pytest.mark.parametrize(
    ('argument', 'path', 'value'),
    [
        ('name=other', ('name',), 'other'),
        ('train:total_iter=1000', ('train', 'total_iter'), 1000),
        ('train:total_iter=!!float 1e3', ('train', 'total_iter'), 1000.0),
        ('train:losses=[{type: C}]', ('train', 'losses'), [{'type': 'C'}]),
        ('train:new:key=true', ('train', 'new', 'key'), True),
        ('val=None', ('val',), None),
        ('val=~', ('val',), None),
        ('empty:key=1', ('empty', 'key'), 1),
        ('name=', ('name',), ''),
        ('path:file=a=b', ('path', 'file'), 'a=b'),
        ('name=a: b', ('name',), {'a': 'b'}),
        ("name=__import__('os').getcwd()", ('name',), "__import__('os').getcwd()"),
        ('train : total_iter = 3', ('train', 'total_iter'), 3),
    ],
)
def test_forced_value(tmp_path: Path, argument: str, path: tuple[str, ...], value: object):
    file = read(tmp_path, TEXT, argument)
    found = file.options
    for key in path:
        found = found[key]
    assert found == value and type(found) is type(value)
    assert str(file.location(path)) == f'--force_yml {argument}'
    assert not file.problems


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('name', r'--force_yml name: expected KEY=VALUE or SECTION:KEY=VALUE'),
        ('name=# x', r'--force_yml name=# x: got no value. Put the value in quotes'),
        ('=1', r'--force_yml =1: expected KEY=VALUE'),
        ('train:=1', r'expected KEY=VALUE'),
        ('name:x=1', r'--force_yml name:x=1: name is not a section of the options file'),
        ('name=[1', r'^--force_yml name=\[1: invalid YAML: '),
        (
            'name=!!python/object/apply:os.getcwd []',
            r'^--force_yml name=.*: invalid YAML: could not determine a constr',
        ),
    ],
)
def test_invalid_forced_value(tmp_path: Path, argument: str, message: str):
    with pytest.raises(InputError, match=message):
        read(tmp_path, TEXT, argument)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'name: x\nscale: 4: 2\n', r'options\.yml:2: invalid YAML: mapping values are not allowed here'),
        (b'a: b: c\n', r'options\.yml:1: invalid YAML: '),
        (b'', r"options file '.*options\.yml': got an empty file, expected a mapping of options"),
        (b'- a\n', r'got a sequence, expected a mapping of options'),
        (b'name: \xff\xfe\n', r'cannot read options file'),
        (b'name: \x07\n', r'invalid YAML'),
        (b'name: !!python/name:os.getcwd\n', r'options\.yml:1: invalid YAML: could not determine a constructor'),
        (b'a: !unknown 1\n', r'options\.yml:1: invalid YAML: could not determine a constructor'),
        (b'a: &x\n  b: *x\n', r'a section contains itself. Remove its alias'),
        (b'a: *x\n', r"options\.yml:1: invalid YAML: found undefined alias 'x'"),
        (b'a: !!int x\n', r'options\.yml:1: invalid YAML: invalid value: invalid literal for int'),
        (b'b: 1\na: !!float abc\n', r'options\.yml:2: invalid YAML: invalid value: could not convert'),
        (b'a: !!bool x\n', r'options\.yml:1: invalid YAML: invalid value'),
        (b'a: !!timestamp 2024-06-31\n', r'options\.yml:1: invalid YAML: invalid value: day'),
        (b'? [a]\n: 1\n', r'options\.yml:1: invalid YAML: found unhashable key'),
        (b'a: 1\n---\nb: 2\n', r'invalid YAML: but found another document'),
        (b'[' * 20000, r'invalid YAML'),
    ],
)
def test_invalid_file(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / 'options.yml'
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_options_file(str(path))


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputNotFoundError, match=r"-opt: options file 'none\.yml' does not exist"):
        read_options_file('none.yml')
    with pytest.raises(InputError, match='cannot read'):
        read_options_file(str(tmp_path))


def test_dates_are_text(tmp_path: Path):
    assert read(tmp_path, 'name: 2024-06-30\n', 'b=2024-06-31').options == {'name': '2024-06-30', 'b': '2024-06-31'}


def test_last_of_two_model_types(tmp_path: Path):
    """As in YAML, so that a first one of another package does not hide the file from the check."""
    path = tmp_path / 'options.yml'
    path.write_text('model_type: SRModel\nmodel_type: GradientGANModel\n')
    assert read_model_type(str(path)) == 'GradientGANModel'
    assert read_options_file(str(path)).options['model_type'] == 'GradientGANModel'


def test_model_type_of_files_with_other_tags(tmp_path: Path):
    """Options files of other models may have tags that BasicSR's loader knows."""
    path = tmp_path / 'options.yml'
    path.write_text('model_type: SRModel\nmean: !!python/tuple [1, 2]\n')
    assert read_model_type(str(path)) == 'SRModel'
    assert read_model_type(str(path), ['name=@x', 'model_type=GradientGANModel']) == 'GradientGANModel'
    path.write_text('name: x\n')
    assert read_model_type(str(path)) is None
