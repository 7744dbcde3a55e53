"""Sections whose options depend on their key `type`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from usrdu_basicsr.options.schema.describe import any_of, got, nearest
from usrdu_basicsr.options.schema.section import Section, problem

Mapped = dict[str, Any]  # annotated with `ByType`


@dataclass(frozen=True)
class ByType:
    """Annotation of a mapping that is a section of the class that its key `type` selects.

    Attributes:
        supported: Function that returns the supported components by type.
        section_of: Function that returns the section class of a component.
        is_registered: Function that tells whether a type is registered, possibly without being supported here.
        where: End of messages such as `network_g: type: RRDBNet is not supported in stage 1`.
        other: Section of registered types of other packages; None if they are not supported.
        own: Types that `other` does not apply to.
    """

    supported: Callable[[], Mapping[str, Any]]
    section_of: Callable[[Any], type[Section]]
    is_registered: Callable[[str], bool]
    where: str
    other: type[Section] | None = None
    own: Collection[str] = ()

    def sections(self) -> dict[str, type[Section]]:
        """Section classes by type."""
        return {name: self.section_of(component) for name, component in sorted(self.supported().items())}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, options: Any, info: ValidationInfo) -> Any:
        if not isinstance(options, Mapping):
            raise self._error('value', f'{got(options)}, expected a mapping', (), options)
        name, supported = options.get('type'), self.supported()
        if name is None:
            raise self._error('missing', '', ('type',), options)
        if isinstance(name, str) and name in supported:
            return self.section_of(supported[name]).model_validate(options, context=info.context)
        expected = f'expected {any_of(sorted(supported))}'
        if not isinstance(name, str) or not self.is_registered(name):
            text = f'{got(name)}, {nearest(str(name), supported) or expected}'
            raise self._error('value', text, ('type',), options)
        if self.other is None or name in self.own:
            raise self._error('value', f'{name} is not supported {self.where}: {expected}', ('type',), options)
        return self.other.model_validate(options, context=info.context)

    def _error(self, form: str, text: str, location: tuple[str, ...], value: Any) -> ValidationError:
        return ValidationError.from_exception_data('type', [problem(form, text, location, value)])

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        sections = self.sections()
        schemas = core_schema.tuple_schema([section.__pydantic_core_schema__ for section in sections.values()])
        choices = [
            {'if': {'properties': {'type': {'const': name}}, 'required': ['type']}, 'then': then}
            for name, then in zip(sections, handler(schemas)['prefixItems'], strict=True)
        ]
        names = {'type': 'string', 'enum': list(sections), 'description': f'Supported types {self.where}.'}
        return {'type': 'object', 'properties': {'type': names}, 'required': ['type'], 'allOf': choices}
