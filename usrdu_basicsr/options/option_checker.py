"""Checks that apply to any section of an options file."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from basicsr.utils.registry import Registry

from usrdu_basicsr.utils.registry import find_registered

TEXT_KEYS = {'name', 'suffix', 'filename_tmpl', 'meta_info_file', 'meta_info_file_lq'}  # text may look like a number


class OptionChecker:
    """Collects the problems of an options file, so that one run reports all of them.

    `where` is the prefix of keys in messages, such as `'train: optim_g: '`; it is empty at the top level.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def known_keys(self, section: Mapping[str, Any], known: Iterable[str], where: str) -> None:
        """Report the keys of `section` that are not in `known`."""
        known = set(known)
        self.problems += [f'unknown key {where}{key}: {_suggestion(key, known)}' for key in section if key not in known]

    def required_keys(self, section: Mapping[str, Any], required: Iterable[str], where: str) -> None:
        """Report the keys that `section` lacks."""
        self.problems += [f'missing {where}{key}' for key in required if section.get(key) is None]

    def section(self, opt: Mapping[str, Any], key: str, where: str = '') -> Mapping[str, Any]:
        """Return `opt[key]`, or an empty mapping if it is missing or not a mapping, which is reported."""
        value = opt.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.problems.append(f'{where}{key}: got {value!r}, expected a mapping')
            return {}
        return value

    def registered(self, section: Mapping[str, Any], registry: Registry | Mapping[str, Any], where: str) -> Any | None:
        """Return the object that `section: type` names in `registry`, or None if there is none, which is reported."""
        name = section.get('type')
        registered = find_registered(registry, name)
        if name is None:
            self.problems.append(f'missing {where}type')
        elif registered is None:
            self.problems.append(f'{where}type: got {name!r}, {_suggestion(str(name), registry.keys())}')
        return registered

    def arguments(self, section: Mapping[str, Any], function: Callable, where: str, given: Iterable[str] = ()) -> None:
        """Compare the keys of `section` with the parameters of `function`, except `type` and `given`."""
        given = {'type', *given}
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given]
        self.known_keys(section, given | {p.name for p in named}, where)
        self.required_keys(section, [p.name for p in named if p.default is p.empty], where)

    def numbers(self, section: Mapping[str, Any], where: str) -> None:
        """Report text that looks like a number: YAML reads `1e-4` as text."""
        for key, value in section.items():
            if isinstance(value, Mapping):
                self.numbers(value, f'{where}{key}: ')
            elif isinstance(value, str) and key not in TEXT_KEYS and _is_number(value):
                self.problems.append(
                    f'{where}{key}: got text {value!r}, expected a number: write {float(value)!r} or !!float {value}'
                )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f'did you mean {close[0]!r}?' if close else f'expected one of {", ".join(sorted(known))}'
