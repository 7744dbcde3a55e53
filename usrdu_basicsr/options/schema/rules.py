"""Combinations of options that are refused, for the check before a run and for the JSON Schema."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from usrdu_basicsr.options.reading import KeyPath


def value_at(options: Any, path: KeyPath) -> Any:
    """Return the value at a path of keys, or None if it is missing."""
    for key in path:
        if not isinstance(options, Mapping):
            return None
        options = options.get(key)
    return options


@dataclass(frozen=True)
class Condition:
    """Condition on the value of one option.

    Attributes:
        path: Keys of the option, relative to the section of the rule.
        holds_for: Function of the value; None stands for a missing value.
        schema: JSON Schema of the values that fulfil the condition, if they are present.
        negated: Whether the option must be missing or not fulfil `schema`.
    """

    path: KeyPath
    holds_for: Callable[[Any], bool]
    schema: Mapping[str, Any]
    negated: bool = False

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of the sections that fulfil the condition."""
        schema: dict[str, Any] = dict(self.schema)
        for key in reversed(self.path):
            schema = {'type': 'object', 'required': [key], 'properties': {key: schema}}
        return {'not': schema} if self.negated else schema


def has(*path: str) -> Condition:
    """The option is set, and not to `~`."""
    return Condition(path, lambda value: value is not None, {'not': {'type': 'null'}})


def lacks(*path: str) -> Condition:
    """The option is missing or `~`."""
    return Condition(path, lambda value: value is None, {'not': {'type': 'null'}}, negated=True)


def equals(*path: str, values: tuple[Any, ...]) -> Condition:
    """The option has one of some values."""
    return Condition(path, lambda value: value in values, {'enum': list(values)})


def differs(*path: str, values: tuple[Any, ...]) -> Condition:
    """The option is missing or has none of some values."""
    return Condition(path, lambda value: value not in values, {'enum': list(values)}, negated=True)


def matches(*path: str, pattern: str) -> Condition:
    """The option is text in which a regular expression is found."""
    found = re.compile(pattern).search
    return Condition(path, lambda value: isinstance(value, str) and bool(found(value)), {'pattern': pattern})


@dataclass(frozen=True)
class Rule:
    """Combination of options that is refused.

    Attributes:
        at: Keys of the option that the message names.
        conditions: Conditions that together are refused.
        message: Message; an empty one reports that `at` is missing.
    """

    at: KeyPath
    conditions: tuple[Condition, ...]
    message: str = ''

    def problem(self, options: Any) -> str | None:
        """Return the message if a section has this combination, otherwise None."""
        refused = all(condition.holds_for(value_at(options, condition.path)) for condition in self.conditions)
        return self.message if refused else None

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of the sections that do not have this combination."""
        return {'not': {'allOf': [condition.json_schema() for condition in self.conditions]}}


@dataclass(frozen=True)
class Calculation:
    """Relation between the values of several options, which JSON Schema cannot express.

    Attributes:
        at: Keys of the option that the message names.
        problem: Function of the section that returns a message if the values do not fit, otherwise None.
    """

    at: KeyPath
    problem: Callable[[Any], str | None]
