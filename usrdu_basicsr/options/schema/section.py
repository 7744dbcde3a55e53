"""Base class of the sections of an options file, and the types that several of them use."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError
from typing_extensions import Self

from usrdu_basicsr.options.schema.describe import expected, got
from usrdu_basicsr.options.schema.rules import Calculation, Rule
from usrdu_basicsr.utils.errors import InputError

PROBLEM = 'options_problem'  # type of the errors that `Section` raises


def integral(value: Any) -> Any:
    """BasicSR's options files often have numbers of iterations such as `!!float 5e3`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


PositiveInteger = Annotated[int, Field(ge=1)]
NonNegativeInteger = Annotated[int, Field(ge=0)]
Iteration = Annotated[int, BeforeValidator(integral)]
Iterations = Annotated[int, Field(ge=1), BeforeValidator(integral)]
PositiveNumber = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Section of an options file: a mapping without unknown keys.

    A field is an option, and the text below it describes the option. Values are not converted: text is not a number.
    `~` stands for the default.

    Attributes:
        combinations: Combinations of options that are refused.
        extra_key: Name of similar sections, of which there may be any number, such as `val`, `val_2`, `val_iphone`.
        null_is_default: Whether `~` stands for a default. It is a value of the parameters of a component.
    """

    model_config = ConfigDict(
        extra='forbid',
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )
    combinations: ClassVar[tuple[Rule | Calculation, ...]] = ()
    extra_key: ClassVar[str | None] = None
    null_is_default: ClassVar[bool] = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Read the options of this section from a mapping that may contain others.

        Raises:
            InputError: If an option is missing or has an invalid value.
        """
        try:
            return cls.model_validate({key: options[key] for key in cls.model_fields if key in options})
        except ValidationError as error:
            raise InputError('; '.join(problem_text(each['loc'], each['ctx']) for each in error.errors())) from error

    @model_validator(mode='wrap')
    @classmethod
    def _explain_errors(cls, options: Any, handler: Any) -> Self:
        """Add refused combinations to the errors, and word all of them for the user."""
        section: Any = None
        errors: list[InitErrorDetails] = []
        given = options
        if isinstance(options, Mapping) and cls.null_is_default:
            fields = cls.model_fields
            given = {
                key: value
                for key, value in options.items()
                if value is not None or key not in fields or fields[key].is_required()
            }
        try:
            section = handler(given)
        except ValidationError as error:
            errors = list(cls._explained(given, error))
        if cls.extra_key is not None and isinstance(options, Mapping):
            extra = [key for key in options if key not in cls.model_fields]
            unknown = [key for key in extra if not re.search(cls._extra_keys(), str(key))]
            errors = [each for each in errors if each['loc'][:1] not in [(key,) for key in unknown]]
            errors += [cls._unknown((key,), options) for key in unknown]
        for rule in cls.combinations:
            if (message := rule.problem(options)) is not None:
                form = 'value' if message else 'missing'
                errors.append(problem(form, message, rule.at, options))
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return section

    @classmethod
    def _explained(cls, options: Any, error: ValidationError) -> Iterator[InitErrorDetails]:
        known: set[Any] = set()
        for each in error.errors():
            location = each['loc']
            if each['type'] == PROBLEM:  # of a section in this one
                yield problem(**each['ctx'], location=location, value=each['input'])
            elif not location:
                yield problem('value', f'{got(each["input"])}, expected a mapping', (), options)
            elif each['type'] == 'missing':
                yield problem('missing', '', location, options)
            elif each['type'] in ('extra_forbidden', 'invalid_key'):
                yield cls._unknown(location, options)
            elif location[0] not in known:  # an option with several types has an error for each of them
                known.add(location[0])
                key = str(location[0])
                yield problem('value', cls._invalid_value(key, options[key]), (key,), options)

    @classmethod
    def _unknown(cls, location: tuple[Any, ...], options: Any) -> InitErrorDetails:
        known = [*cls.model_fields, *([cls.extra_key] if cls.extra_key else ())]
        return problem('unknown', '', location, options, known)

    @classmethod
    def accepted(cls, key: str) -> str:
        """Describe the values of an option, such as `an integer >= 1 or ~`."""
        return expected(cls._type_of(key).json_schema())

    @classmethod
    def _type_of(cls, key: str) -> TypeAdapter[Any]:
        field = cls.model_fields[key]
        annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        return TypeAdapter(annotation)

    @classmethod
    def _invalid_value(cls, key: str, value: Any) -> str:
        accepted = cls.accepted(key)
        number = _number(value)
        if number is not None and cls._accepts(key, number):
            return f'got text {value!r}, expected {accepted}: write {number!r}'
        return f'{got(value)}, expected {accepted}'

    @classmethod
    def _accepts(cls, key: str, value: Any) -> bool:
        try:
            cls._type_of(key).validate_python(value, strict=True)
        except ValidationError:
            return False
        return True

    @classmethod
    def _extra_keys(cls) -> str:
        return rf'^{cls.extra_key}(_.*)?$'

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        resolved = handler.resolve_ref_schema(schema)
        if combinations := [rule.json_schema() for rule in cls.combinations if isinstance(rule, Rule)]:
            resolved['allOf'] = combinations
        if cls.extra_key is not None:
            resolved['patternProperties'] = {cls._extra_keys(): resolved['additionalProperties']}
            resolved['additionalProperties'] = False
        for key, values in resolved.get('properties', {}).items() if cls.null_is_default else ():
            if key not in resolved.get('required', ()) and {'type': 'null'} not in values.get('anyOf', ()):
                outer = {name: values.pop(name) for name in ('default', 'description') if name in values}
                resolved['properties'][key] = {'anyOf': [values, {'type': 'null'}], **outer}
        return schema


def problem(
    form: str, text: str, location: tuple[Any, ...], value: Any, known: Collection[str] = ()
) -> InitErrorDetails:
    """Error of an option.

    Args:
        form: `value`, `missing`, or `unknown` for an unknown key.
        text: Message of a `value`.
        location: Keys of the option.
        value: Section or value.
        known: Known keys of the section of an unknown key.
    """
    error = PydanticCustomError(PROBLEM, '{text}', {'form': form, 'text': text, 'known': known})
    return InitErrorDetails(type=error, loc=location, input=value)


def problem_text(location: tuple[Any, ...], context: Mapping[str, str]) -> str:
    """Message of an error of `Section`."""
    key = ': '.join(map(str, location))
    if context['form'] == 'value':
        return f'{key}: {context["text"]}'
    return f'missing {key}' if context['form'] == 'missing' else f'unknown key {key}'


def _number(text: Any) -> int | float | None:
    """The number that a text such as `1e-4` means, or None."""
    for convert in (int, float):
        try:
            return convert(text) if isinstance(text, str) else None
        except ValueError:
            continue
    return None
