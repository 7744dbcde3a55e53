"""Records which options are read, to compare them with the schema."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from generate_docs import annotations
from usrdu_basicsr.options.checking import section_types
from usrdu_basicsr.options.schema.section import Section

ADDED = {  # by BasicSR's parse_options, except the last two, which its loader reads but validation here does not use
    (): ('is_train', 'dist', 'rank', 'world_size', 'auto_resume'),
    ('path',): ('models', 'training_states', 'log', 'visualization'),
    ('datasets',): ('phase', 'scale', 'persistent_workers', 'prefetch_mode'),  # each dataset
}


class Recorder(dict):
    """Options that add the path of each key that is read to `reads`."""

    def __init__(self, options: dict, reads: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> None:
        inner = {key: Recorder(value, reads, (*path, key)) for key, value in options.items() if isinstance(value, dict)}
        super().__init__(options | inner)
        self.reads, self.path = reads, path

    def __deepcopy__(self, memo: dict) -> 'Recorder':
        return Recorder(deepcopy(dict(self), memo), self.reads, self.path)

    def __getitem__(self, key: str) -> Any:
        self.reads.add((*self.path, key))
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.reads.add((*self.path, key))
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.reads.add((*self.path, key))
        return super().pop(key, *default)

    def __contains__(self, key: object) -> bool:
        self.reads.add((*self.path, key))
        return super().__contains__(key)


def known_paths(section: type[Section], options: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the options that the schema has for a run, and of those that BasicSR adds."""
    added = ADDED.get(path[:-1] if path[:-1] == ('datasets',) else path, ())
    for key in (*section.model_fields, *added):
        yield (*path, key)
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _known_paths_of(section, key, value, (*path, key))


def _known_paths_of(section: type[Section], key: str, value: dict, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if key in section.model_fields:
        field = section.model_fields[key]
        annotation: Any = (field.annotation, *field.metadata)
        for inner in section_types(field.annotation):
            yield from known_paths(inner, value, path)
    else:
        annotation = section.__annotations__['__pydantic_extra__']
        yield path
    with_type = list(annotations(annotation))
    if not with_type:  # a mapping as parameter of a component
        yield from ((*path, name) for name in value)
    for by_type in with_type:
        named = {(): value} if 'type' in value else {(name,): each for name, each in value.items()}
        for name, each in named.items():
            yield (*path, *name)
            yield from known_paths(by_type.sections()[each['type']], each, (*path, *name))
