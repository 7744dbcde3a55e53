"""Copies of a recipe for the user's own images."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from usrdu_basicsr.options.recipes import SCHEMA_LINE, RecipeFile
from usrdu_basicsr.options.yaml_edit import Keys, is_writable, remove_section, replace_values
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import input_folder, output_folder, write_text

SCHEMA = Path(__file__).with_name('schema.json')


@dataclass(frozen=True)
class Folders:
    """Folders of the user's images; a leading `~` is expanded.

    Args:
        hr: Existing folder of HR images.
        lr: Existing folder of camera images.
        generated: Folder of the generated set; `generated` next to `hr` by default.
        val_hr: Existing folder of HR images for validation.
        val_lr: Existing folder of camera images for validation.

    Raises:
        UserError: If a folder does not exist or its path cannot be written into an options file.
    """

    hr: str
    lr: str
    generated: str | None = None
    val_hr: str | None = None
    val_lr: str | None = None

    def __post_init__(self) -> None:
        for name, path in list(vars(self).items()):
            if path is not None:
                path = os.path.expanduser(path).rstrip('/') or '/'
                _check_text(f'--{name}', path)
                if name != 'generated':
                    input_folder(path)
                object.__setattr__(self, name, path)

    def by_role(self) -> dict[str, str]:
        """Folders by role: the names of the arguments, and `kernels`."""
        given = {role: path for role, path in vars(self).items() if path is not None}
        return {'generated': _next_to(self.hr, 'generated'), 'kernels': _next_to(self.lr, 'kernels'), **given}


@dataclass(frozen=True)
class RecipeCopy:
    """Result of `copy_recipe`.

    Args:
        files: Content of the written files by path.
        folders: Folders that the files use, by role.
        left_out: Omitted files and datasets, with reasons.
        missing: Options and paths of pretrained networks that do not exist.
    """

    files: dict[Path, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def copy_recipe(
    recipe: list[RecipeFile], folders: Folders, output: str | Path, name: str = 'my', overwrite: bool = False
) -> RecipeCopy:
    """Write the options files of a recipe with the user's folders and names; comments are kept.

    Without validation folders, the dataset `val` is removed from the training files, and test files are left out.

    Args:
        recipe: All files of the recipe.
        folders: Folders of the user's images.
        output: Folder to write to, created if missing.
        name: Replaces the name of the recipe in the names of experiments, such as `track1` in `track1_dsn`.
        overwrite: Replace existing files.

    Raises:
        InputError: If a file exists, a name is invalid, or the recipe does not use a validation folder. No file is
            written in this case.
        WriteError: If a file cannot be written.
    """
    output = output_folder(Path(output).expanduser())
    _check_text('-o', str(output))
    _check_text('--name', name)
    if not name or '/' in name or os.sep in name:
        raise InputError(f'--name: got {name!r}, expected a name without folders. Use -o for the folder')
    copy = _adapt(recipe, folders, output, name)
    existing = [path.name for path in copy.files if path.exists()]
    if existing and not overwrite:
        raise InputError(
            f"output '{output}': {', '.join(existing)} already exist. Choose another folder, or pass --overwrite"
        )
    for path, text in copy.files.items():
        write_text(path, text)
    return copy


def _adapt(recipe: list[RecipeFile], folders: Folders, output: Path, name: str) -> RecipeCopy:
    copy, given, group = RecipeCopy(), folders.by_role(), recipe[0].path.parent.name
    roles = {path: role for file in recipe for path, role in _roles(file.options)}
    names = {old: f'{name}_{old.removeprefix(group).lstrip("_")}' for old in (file.options['name'] for file in recipe)}
    replaced = {path: given[role] for path, role in roles.items() if role in given}
    replaced |= {f'experiments/{old}': f'experiments/{new}' for old, new in names.items()}
    replaced[f'options/{group}'] = str(output)
    for file in recipe:
        text, options, file_name = file.text, deepcopy(file.options), file.path.name
        lacking = {phase: _lacking(dataset, roles, given) for phase, dataset in options['datasets'].items()}
        val_needs = lacking.pop('val', None)
        if needs := ', '.join(filter(None, lacking.values())):
            copy.left_out.append(f'{file_name} (needs {needs})')
            continue
        if val_needs:
            del options['datasets']['val']
            text = remove_section(text, ('datasets', 'val'))
            copy.left_out.append(f'datasets: val of {file_name} (needs {val_needs})')
        copy.files[output / file_name] = _replace(text, replaced, names, name)
        copy.folders.update({role: given[role] for _, role in _roles(options)})
        for key, path in options['path'].items():
            is_other = key.startswith('pretrain_network') and path and _with_folders(path, replaced) == path
            if is_other and not Path(path).expanduser().is_file():
                copy.missing[key] = path
    for role, other in (('val_hr', 'val_lr'), ('val_lr', 'val_hr')):
        if role in given and role not in copy.folders:
            raise InputError(f"--{role}: recipe '{group}' validates on pairs: got no --{other}. Pass both or neither")
    return copy


def _lacking(dataset: Mapping[str, Any], roles: Mapping[str, str], given: Mapping[str, str]) -> str:
    """What a dataset needs: arguments that are not given, and folders that no argument describes.

    The latter exist for the authors only, such as the bicubic LR images of the comparison in the demo.
    """
    used = {
        path: roles.get(path) or roles.get(os.path.dirname(path))
        for key, path in dataset.items()
        if key.startswith('dataroot_')
    }
    return ', '.join(f'--{role}' if role else f"'{path}'" for path, role in used.items() if role not in given)


def _roles(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Original folders of an options file, and their roles."""
    for phase, dataset in options['datasets'].items():
        hr, lr = dataset.get('dataroot_gt'), dataset.get('dataroot_lq')
        if hr is not None:
            yield hr, 'hr' if phase == 'train' else 'val_hr'
        if 'dataroot_log_scale' in dataset:
            yield os.path.dirname(lr), 'generated'
        elif lr is not None and phase != 'train':
            yield lr, 'val_lr'
        elif lr is not None and dataset['type'] == 'UnpairedImageDataset':
            yield lr, 'lr'
    if kernels := options.get('train', {}).get('kernels'):
        yield os.path.dirname(kernels), 'kernels'


def _replace(text: str, paths: Mapping[str, str], names: Mapping[str, str], name: str) -> str:
    """Replace names, paths and commands in the text of an options file."""
    # Longest first, and only whole parts of a path
    pattern = '|'.join(map(re.escape, sorted(paths, key=len, reverse=True)))
    in_comments = re.compile(rf'(?<!\S)({pattern})(?=[/\s]|$)')

    def replace_value(keys: Keys, value: str) -> str:
        if keys == ('name',):
            return names[value]
        if keys[0] == 'datasets' and keys[2:] == ('name',):
            return name if keys[1] == 'train' else f'{name}_validation'
        return _with_folders(value, paths)

    def replace_comment(line: str) -> str:
        if line.startswith(SCHEMA_LINE):
            return f'{SCHEMA_LINE}{SCHEMA}'
        return in_comments.sub(lambda found: shlex.quote(paths[found[1]]), line)  # most are shell commands

    return replace_values(text, replace_value, replace_comment)


def _with_folders(value: str, paths: Mapping[str, str]) -> str:
    for old, new in paths.items():
        if value == old or value.startswith(f'{old}/'):
            return new + value[len(old) :]
    return value


def _next_to(folder: str, name: str) -> str:
    return os.path.normpath(os.path.join(folder, os.pardir, name))


def _check_text(where: str, value: str) -> None:
    if not is_writable(value):
        raise InputError(f'{where}: got {value!r}, expected one line of printable characters. Rename the folder')
