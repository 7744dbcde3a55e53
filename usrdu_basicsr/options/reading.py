"""Read options files, with the file and line of each key."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import MappingNode, Node, SafeLoader, ScalarNode, SequenceNode

from usrdu_basicsr.utils.errors import InputError, not_found

NULL = 'tag:yaml.org,2002:null'
KeyPath = tuple[Any, ...]
STAGE_1, STAGE_2 = MODEL_TYPES = ('UncertaintyDSNModel', 'GradientGANModel')


def is_usrdu_model(options: Mapping[str, Any]) -> bool:
    """Whether the options are for a model of this package."""
    return options.get('model_type') in MODEL_TYPES


@dataclass(frozen=True, order=True)
class Location:
    """Where an option is set.

    Attributes:
        source: File, or argument of `--force_yml`.
        line: Line of the file, 0 for an argument.
    """

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f'{self.source}:{self.line}' if self.line else self.source


@dataclass(frozen=True, order=True)
class Problem:
    """Problem of an option.

    Attributes:
        location: Where the option is set.
        text: Message.
        path: Keys of the option.
    """

    location: Location
    text: str
    path: KeyPath = field(default=(), compare=False)

    def __str__(self) -> str:
        return f'{self.location}: {self.text}'


@dataclass(frozen=True)
class OptionsFile:
    """Content of an options file, changed by `--force_yml`.

    Attributes:
        path: Path of the file.
        options: Options.
        locations: Location of each key, by its path of keys, and of the whole file.
        problems: Keys that occur twice in a section.
    """

    path: str
    options: dict[str, Any]
    locations: dict[KeyPath, Location]
    problems: list[Problem] = field(default_factory=list)

    def location(self, path: KeyPath) -> Location:
        """Location of a key or, if the file does not contain it, of its section."""
        while path not in self.locations:
            path = path[:-1]
        return self.locations[path]


def read_options_file(path: str, forced: Iterable[str] = ()) -> OptionsFile:
    """Parse an options file. Tags of Python objects are refused, so that no code is executed.

    Args:
        path: Path of the file.
        forced: Arguments of `--force_yml`, such as `train:total_iter=1000`. The values are parsed as YAML.

    Raises:
        UserError: If the file does not exist, is unreadable, is not valid YAML or has no mapping of options.
    """
    root = _read_nodes(path, forced)
    try:
        problems = list(_duplicates(root, ()))
        options = _construct(root)
        return OptionsFile(path, options, {(): Location(path, 1)} | dict(_locations(root, ())), problems)
    except RecursionError as error:
        raise InputError(f"-opt: options file '{path}': a section contains itself. Remove its alias") from error


def read_model_type(path: str, forced: Iterable[str] = ()) -> str | None:
    """Read `model_type` of an options file of any model, None if it has none.

    Raises:
        UserError: As `read_options_file`, except that any tags are permitted.
    """
    forced = [argument for argument in forced if argument.partition('=')[0].strip() == 'model_type']
    node = _child(_read_nodes(path, forced), 'model_type')
    return node.value if isinstance(node, ScalarNode) else None


def read_network_options(path: str) -> dict[str, Any]:
    """Read an options file that describes a network in `network_g`.

    Raises:
        UserError: If the file is unreadable or has no section `network_g`.
    """
    options = read_options_file(path).options
    if not isinstance(options.get('network_g'), Mapping):
        raise InputError(f"-opt: options file '{path}': missing network_g")
    return options


def _read_nodes(path: str, forced: Iterable[str]) -> MappingNode:
    try:
        with open(path) as file:  # default encoding, as in BasicSR
            text = file.read()
    except FileNotFoundError as error:
        raise not_found(f"-opt: options file '{path}'") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"-opt: cannot read options file '{path}': {error}") from error
    root = _compose(text, path)
    if not isinstance(root, MappingNode):
        found = 'an empty file' if root is None else f'a {root.id}'
        raise InputError(f"-opt: options file '{path}': got {found}, expected a mapping of options")
    for argument in forced:
        _force(root, argument)
    return root


class _Loader(SafeLoader):
    """Loader whose nodes know the file, or the argument of `--force_yml`, that they come from. Dates are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != 'tag:yaml.org,2002:timestamp']
        for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Build the value of a node; `!!int x` is a ConstructorError, not one of PyYAML's other errors."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError) as error:
            raise yaml.constructor.ConstructorError(None, None, f'invalid value: {error}', node.start_mark) from error


def _compose(text: str, name: str) -> Node | None:
    """Parse YAML to nodes."""
    try:
        return _Loader(text, name).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise InputError(f'{_location(error.problem_mark)}: invalid YAML: {error.problem}') from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f'{name}: invalid YAML: {error}') from error


def _construct(node: Node) -> Any:
    """Build the values of a node."""
    try:
        return _Loader('', '').construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise InputError(f'{_location(error.problem_mark)}: invalid YAML: {error.problem}') from error


def _location(mark: yaml.Mark) -> Location:
    return Location(mark.name, 0 if mark.name.startswith('--force_yml') else mark.line + 1)


def _force(root: MappingNode, argument: str) -> None:
    """Set the value of an argument of `--force_yml` in the tree of nodes."""
    keys, equals, text = argument.partition('=')
    name = f'--force_yml {argument}'
    if not equals or not all(key.strip() for key in keys.split(':')):
        raise InputError(f'{name}: expected KEY=VALUE or SECTION:KEY=VALUE')
    text = '~' if text.strip().lower() == 'none' else text.strip()  # as in BasicSR
    value = _compose(text or "''", name)
    if value is None:  # only a comment
        raise InputError(f'{name}: got no value. Put the value in quotes')
    section = root
    *sections, key = (part.strip() for part in keys.split(':'))
    for i, part in enumerate(sections):
        found = _child(section, part)
        if found is None:
            section.value = [pair for pair in section.value if pair[0].value != part]
            found = MappingNode('tag:yaml.org,2002:map', [], value.start_mark)
            section.value.append((ScalarNode('tag:yaml.org,2002:str', part, value.start_mark), found))
        if not isinstance(found, MappingNode):
            raise InputError(f'{name}: {": ".join(sections[: i + 1])} is not a section of the options file')
        section = found
    section.value = [pair for pair in section.value if pair[0].value != key]
    section.value.append((ScalarNode('tag:yaml.org,2002:str', key, value.start_mark), value))


def _child(section: MappingNode, key: str) -> Node | None:
    found = [value for name, value in section.value if name.value == key]
    return found[-1] if found and found[-1].tag != NULL else None  # the last one wins, as in YAML


def _duplicates(node: Node, path: KeyPath) -> Iterator[Problem]:
    """Problems of keys that occur more than once in a section, where the last one would silently win."""
    first: dict[Any, Node] = {}
    for key, value in node.value if isinstance(node, MappingNode) else ():
        if isinstance(key, ScalarNode) and key.tag != 'tag:yaml.org,2002:merge':
            name = ': '.join(map(str, (*path, key.value)))
            if key.value in first:
                line = first[key.value].start_mark.line + 1
                text = f'{name} occurs twice, first in line {line}. Remove one of them'
                yield Problem(_location(key.start_mark), text, (*path, key.value))
            first.setdefault(key.value, key)
            yield from _duplicates(value, (*path, key.value))
    for index, value in enumerate(node.value if isinstance(node, SequenceNode) else ()):
        yield from _duplicates(value, (*path, index))


def _locations(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Location]]:
    """Keys and location of each key of a constructed node, in which merged keys are resolved."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                child = (*path, _Loader('', '').construct_object(key))
                yield child, _location(key.start_mark)
                yield from _locations(value, child)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            yield from _locations(value, (*path, index))
