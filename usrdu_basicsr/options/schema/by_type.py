"""Sections whose options depend on their key `type`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from usrdu_basicsr.options.schema.describe import nearest
from usrdu_basicsr.options.schema.section import Section, problem


@dataclass(frozen=True)
class ByType:
    """Annotation of a mapping that is a section of the class that its key `type` selects.

    Attributes:
        sections: Function that returns the supported sections by type.
        registered: Function that returns all registered types, also those that are not supported here.
        where: End of messages such as `network_g: type: RRDBNet is not supported in stage 1`.
        other: Section of registered types of other packages; None if they are not supported.
        own: Types that `other` does not apply to.
    """

    sections: Callable[[], Mapping[str, type[Section]]]
    registered: Callable[[], set[str]]
    where: str
    other: type[Section] | None = None
    own: Collection[str] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, options: Any, info: ValidationInfo) -> Any:
        if not isinstance(options, Mapping):
            raise self._error('value', f'got {options!r}, expected a mapping', (), options)
        name, sections = options.get('type'), self.sections()
        if name is None:
            raise self._error('missing', '', ('type',), options)
        if isinstance(name, str) and name in sections:
            return sections[name].model_validate(options, context=info.context)
        supported = f'expected one of {", ".join(sorted(sections))}'
        if name not in self.registered():
            suggestion = nearest(str(name), sections) or supported
            raise self._error('value', f'got {name!r}, {suggestion}', ('type',), options)
        if self.other is None or name in self.own:
            raise self._error('value', f'{name} is not supported {self.where}: {supported}', ('type',), options)
        return self.other.model_validate(options, context=info.context)

    def _error(self, form: str, text: str, location: tuple[str, ...], value: Any) -> ValidationError:
        return ValidationError.from_exception_data('type', [problem(form, text, location, value)])

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        sections = sorted(self.sections().items())
        schemas = core_schema.tuple_schema([section.__pydantic_core_schema__ for _, section in sections])
        choices = [
            {'if': {'properties': {'type': {'const': name}}, 'required': ['type']}, 'then': then}
            for (name, _), then in zip(sections, handler(schemas)['prefixItems'], strict=True)
        ]
        names = {
            'type': 'string',
            'enum': [name for name, _ in sections],
            'description': f'Supported types {self.where}.',
        }
        return {'type': 'object', 'properties': {'type': names}, 'required': ['type'], 'allOf': choices}
