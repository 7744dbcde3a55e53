"""Edit YAML text at the positions of its values, so that comments, order and formats stay."""

import re
from collections.abc import Callable, Iterator

import yaml

Keys = tuple[str, ...]
COMMENT_LINE = re.compile(r'^[ \t]*#.*$', re.MULTILINE)
COMMENT_AFTER_VALUE = re.compile(r'[ \t]+#.*')


def remove_section(text: str, keys: Keys) -> str:
    """Remove a key of block mappings with its value.

    Args:
        text: YAML text, a mapping.
        keys: Path of the key, such as `('datasets', 'val')`; it must exist.
    """
    (first, last) = next((key, value) for path, key, value in _pairs(_compose(text)) if path == keys)
    while isinstance(last, yaml.MappingNode) and not last.flow_style:  # its end mark is the start of the next key
        last = last.value[-1][1]
    lines = text.splitlines(keepends=True)
    del lines[first.start_mark.line : last.end_mark.line + 1]
    return ''.join(lines)


def replace_values(text: str, replace: Callable[[Keys, str], str], replace_comment: Callable[[str], str]) -> str:
    """Replace scalar values of mappings and lines that are comments.

    A comment after a replaced value is removed, because it describes the old value.

    Args:
        text: YAML text, a mapping.
        replace: Function from path and text of a value to its new text. It becomes a string if it differs.
        replace_comment: Function from a comment line to its new text, without line break.
    """
    edits = [(found.start(), found.end(), replace_comment(found[0])) for found in COMMENT_LINE.finditer(text)]
    for keys, _, node in _pairs(_compose(text)):
        if isinstance(node, yaml.ScalarNode) and (new := replace(keys, node.value)) != node.value:
            end = node.end_mark.index
            comment = COMMENT_AFTER_VALUE.match(text, end)
            edits.append((node.start_mark.index, comment.end() if comment else end, quote(new)))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def quote(value: str) -> str:
    """Write a string of one line as a YAML value, quoted if necessary."""
    return yaml.safe_dump(value, allow_unicode=True, width=float('inf')).removesuffix('\n').removesuffix('\n...')


def is_writable(value: str) -> bool:
    """Whether a string is one line of characters that YAML allows."""
    return len(value.splitlines()) == 1 and yaml.reader.Reader.NON_PRINTABLE.search(value) is None


def _compose(text: str) -> yaml.Node:
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _pairs(node: yaml.Node, keys: Keys = ()) -> Iterator[tuple[Keys, yaml.Node, yaml.Node]]:
    """Path, key and value of every entry of nested mappings."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*keys, str(key.value))
            yield path, key, value
            yield from _pairs(value, path)
