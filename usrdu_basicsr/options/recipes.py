"""Recipes: the options files in `options/` of a checkout, which normal wheels contain as `usrdu_basicsr/recipes/`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from usrdu_basicsr.options.reading import STAGE_1
from usrdu_basicsr.options.schema.describe import nearest
from usrdu_basicsr.utils.errors import InputError, not_found

SCHEMA_LINE = '# yaml-language-server: $schema='  # first line of a recipe, for editors
T = TypeVar('T')
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class RecipeFile:
    """Options file of a recipe.

    Args:
        path: File.
    """

    path: Path

    @property
    def name(self) -> str:
        """Name such as `track1/train_dsn`."""
        return f'{self.path.parent.name}/{self.path.stem}'

    @cached_property
    def text(self) -> str:
        """Content of the file."""
        return self.path.read_text(encoding='utf-8')

    @cached_property
    def options(self) -> dict[str, Any]:
        """Parsed content."""
        return yaml.safe_load(self.text)

    @property
    def stage(self) -> int:
        """Stage, 1 or 2."""
        return 1 if self.options['model_type'] == STAGE_1 else 2

    @property
    def description(self) -> str:
        """First sentence of the comment at the top."""
        lines = []
        for line in self.text.splitlines():
            if line.startswith(SCHEMA_LINE):
                continue
            if not line.startswith('# ') or line.startswith('#  '):  # commands are indented
                break
            lines.append(line[2:])
        return re.split(r'(?<=\.)\s', ' '.join(lines))[0]


def recipes_folder() -> Path:
    """Folder with one folder of options files per recipe.

    Raises:
        InputNotFoundError: If neither a wheel nor a checkout provides it.
    """
    for folder in (PACKAGE / 'recipes', PACKAGE.parent / 'options'):
        if folder.is_dir():
            return folder
    raise not_found(f"folder of recipes '{PACKAGE / 'recipes'}'")


def list_recipes() -> dict[str, list[RecipeFile]]:
    """Files of all recipes, sorted by name."""
    recipes: dict[str, list[RecipeFile]] = {}
    for path in sorted(recipes_folder().glob('*/*.yml')):
        recipes.setdefault(path.parent.name, []).append(RecipeFile(path))
    return recipes


def find_recipe(name: str) -> list[RecipeFile]:
    """Files of a recipe (`track1`), or one of them (`track1/train_dsn`).

    Raises:
        InputError: If there is none of this name.
    """
    recipe, _, stem = name.partition('/')
    files = select(list_recipes(), recipe)
    if not stem:
        return files
    return [select({file.path.stem: file for file in files}, stem.removesuffix('.yml'), f'{recipe}/')]


def select(choices: Mapping[str, T], name: str, prefix: str = '') -> T:
    """Look up a recipe or a file by its name; an InputError with the nearest name if there is none."""
    if name not in choices:
        known = [prefix + choice for choice in choices]
        advice = nearest(prefix + name, known) or f'expected one of {", ".join(known)}'
        raise InputError(f"unknown recipe '{prefix}{name}': {advice}")
    return choices[name]
