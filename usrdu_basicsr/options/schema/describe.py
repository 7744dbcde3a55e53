"""Words for the values that an option accepts, for error messages and docs/options.md."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

NOUNS = {
    'integer': 'an integer',
    'number': 'a number',
    'string': 'text',
    'boolean': 'true or false',
    'object': 'a mapping',
    'array': 'a list',
    'null': '~',
}


def expected(schema: Mapping[str, Any]) -> str:
    """Describe the values that a JSON Schema accepts, such as `an integer >= 1` or `one of fp32, bf16`.

    It knows the keywords that the schema of this package uses.
    """
    if alternatives := schema.get('anyOf') or schema.get('oneOf'):
        return _join([part for each in alternatives for part in expected(each).split(' or ')])
    values = schema.get('enum', [schema['const']] if 'const' in schema else None)
    if values is not None:
        return _join([_yaml(value) for value in values])
    kind = schema.get('type')
    if kind == 'array':
        return _array(schema)
    noun = NOUNS.get(str(kind), 'any value' if '$ref' not in schema and 'allOf' not in schema else 'a mapping')
    limits = {'minimum': '>=', 'exclusiveMinimum': '>', 'maximum': '<=', 'exclusiveMaximum': '<'}
    bounds = [f'{sign} {_yaml(schema[name])}' for name, sign in limits.items() if name in schema]
    return ' '.join([noun, ' and '.join(bounds)]).strip()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return `did you mean ...?` with the most similar known word, or None if none is similar."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f'did you mean {close[0]!r}?' if close else None


def _array(schema: Mapping[str, Any]) -> str:
    items = schema.get('items') or {}
    plural = {'integer': ' of integers', 'number': ' of numbers', 'string': ' of texts'}.get(str(items.get('type')), '')
    least, most = schema.get('minItems'), schema.get('maxItems')
    if least is None and most is None:
        return f'a list{plural}'
    return f'a list of {least}{plural.removeprefix(" of")}' if least == most else f'a list{plural}, at least {least}'


def _join(parts: list[str]) -> str:
    parts = list(dict.fromkeys(parts))  # without duplicates, in order
    if len(parts) > 3:
        return f'one of {", ".join(parts)}'
    return ' or '.join(parts)


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return '~' if value is None else str(value)
