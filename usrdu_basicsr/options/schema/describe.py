"""Words for the values that an option accepts, for error messages and docs/options.md."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

NAME = r'^[^/\\]*[^/\\.][^/\\]*$'  # also not . and ..
ONE_PLACEHOLDER = r'^[^{}]*\{\}[^{}]*$'
NOUNS = {
    'integer': 'an integer',
    'number': 'a number',
    'string': 'text',
    'object': 'a mapping',
    'array': 'a list',
    'null': '~',
}
PATTERNS = {NAME: 'text without / and \\', ONE_PLACEHOLDER: 'text with one {}'}


def expected(schema: Mapping[str, Any]) -> str:
    """Describe the values that a JSON Schema accepts, such as `an integer >= 1` or `one of fp32, bf16`.

    It knows the keywords that the schema of this package uses.
    """
    return any_of(_alternatives(schema))


def _alternatives(schema: Mapping[str, Any]) -> list[str]:
    if alternatives := schema.get('anyOf'):
        return [part for each in alternatives for part in _alternatives(each)]
    values = schema.get('enum', [schema['const']] if 'const' in schema else None)
    if values is not None:
        return [yaml_text(value) for value in values]
    kind = schema.get('type')
    if kind == 'boolean':
        return ['true', 'false']
    if kind == 'array':
        return [_array(schema)]
    if (schema.get('additionalProperties') or {}) == {'type': 'number'}:
        return ['a mapping to numbers']
    if 'pattern' in schema:
        return [PATTERNS[schema['pattern']]]
    noun = NOUNS.get(str(kind), 'any value' if '$ref' not in schema and 'allOf' not in schema else 'a mapping')
    limits = {'minimum': '>=', 'exclusiveMinimum': '>', 'maximum': '<=', 'exclusiveMaximum': '<'}
    bounds = [f'{sign} {schema[name]}' for name, sign in limits.items() if name in schema]
    return [' '.join([noun, ' and '.join(bounds)]).strip()]


def any_of(parts: Iterable[str]) -> str:
    """Join alternatives: `a`, `a or b`, `a, b or c`, `one of a, b, c, d`."""
    parts = list(dict.fromkeys(parts))  # without duplicates, in order
    if len(parts) > 3:
        return f'one of {", ".join(parts)}'
    return ' or '.join([', '.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def yaml_text(value: Any) -> str:
    """A word or number as in an options file."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return '~' if value is None else str(value)


def got(value: Any) -> str:
    """`got X`, with text in quotes."""
    return f'got {yaml_text(value) if value is None or isinstance(value, bool) else repr(value)}'


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return `did you mean ...?` with the most similar known word, or None if none is similar."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=cutoff)
    return f'did you mean {close[0]!r}?' if close else None


def _array(schema: Mapping[str, Any]) -> str:
    items = schema.get('items') or {}
    plural = {'integer': 'integers', 'number': 'numbers', 'string': 'texts'}.get(str(items.get('type')))
    if (count := schema.get('minItems')) is not None:
        return f'a list of {count} {plural or "values"}'
    return f'a list of {plural}' if plural else 'a list'
