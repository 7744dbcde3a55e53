"""Tools to find what is wrong in a section of an options file."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from basicsr.utils.registry import Registry

from usrdu_basicsr.utils.registry import find_registered

# Options that are text even where they look like a number
TEXT = {'name', 'suffix', 'filename_tmpl', 'meta_info_file', 'meta_info_file_lq'}


class OptionCheck:
    """Collects every problem of an options file, so that one run tells all of them.

    In its methods `where` says which section is meant, as `'train: optim_g: '`, empty for the top.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def keys(self, section: Mapping[str, Any], known: Iterable[str], where: str) -> None:
        """Note each key of `section` that is not `known`."""
        known = set(known)
        for key in section:
            if key not in known:
                self.problems.append(f'unknown key {where}{key}{_suggestion(key, known)}')

    def needs(self, section: Mapping[str, Any], required: Iterable[str], where: str) -> None:
        """Note each key that `section` lacks."""
        self.problems += [f'missing {where}{key}' for key in required if section.get(key) is None]

    def section(self, opt: Mapping[str, Any], key: str, where: str = '') -> Mapping[str, Any]:
        """`opt[key]`, or nothing where it is missing or not a mapping (which is noted)."""
        value = opt.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.problems.append(f'{where}{key} is {value!r}, expected a mapping')
            return {}
        return value

    def choice(self, section: Mapping[str, Any], registry: Registry, where: str) -> Any | None:
        """What `section: type` names in `registry`, or None if it names nothing (which is noted)."""
        name = section.get('type')
        if (found := find_registered(registry, name)) is not None:
            return found
        self.no_choice(name, registry.keys(), where)
        return None

    def no_choice(self, name: str | None, known: Iterable[str], where: str) -> None:
        """Note that `type` is missing or names nothing."""
        if name is None:
            self.problems.append(f'missing {where}type')
        else:
            self.problems.append(f'{where}type: no {name!r}{_suggestion(str(name), known)}')

    def call(self, section: Mapping[str, Any], function: Callable, where: str, given: Iterable[str] = ()) -> None:
        """Note the keys of `section` that `function` does not take, and those it needs and `section` lacks."""
        given = {'type', *given}
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given]
        self.keys(section, given | {p.name for p in named}, where)
        self.needs(section, [p.name for p in named if p.default is p.empty], where)

    def numbers(self, section: Mapping[str, Any], where: str) -> None:
        """Note text that looks like a number: YAML reads `1e-4` as text."""
        for key, value in section.items():
            if isinstance(value, Mapping):
                self.numbers(value, f'{where}{key}: ')
            elif isinstance(value, str) and key not in TEXT and _is_number(value):
                self.problems.append(f'{where}{key} is text, {value!r}: write {float(value)!r} or !!float {value}')


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f': did you mean {close[0]!r}?' if close else f': expected one of {", ".join(sorted(known))}'
