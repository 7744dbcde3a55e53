"""JSON Schema of options files, with which editors complete, explain and check keys."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from usrdu_basicsr.options.reading import MODEL_TYPES
from usrdu_basicsr.options.schema.run import RUNS


def json_schema() -> dict[str, Any]:
    """JSON Schema of all options files: `model_type` selects the stage, and a section `train` a training."""
    runs: list[tuple[Any, JsonSchemaMode]] = [(run, 'validation') for run in RUNS.values()]
    references, schema = models_json_schema(runs, schema_generator=_WithoutTitles, ref_template='#/$defs/{model}')
    choices = []
    for (model_type, is_train), run in RUNS.items():
        selected: dict[str, Any] = {'properties': {'model_type': {'const': model_type}}, 'required': ['model_type']}
        selected |= {'required': ['model_type', 'train']} if is_train else {'not': {'required': ['train']}}
        choices.append({'if': selected, 'then': references[run, 'validation']})
    return {
        '$schema': 'http://json-schema.org/draft-07/schema#',
        'title': 'Options file of usrdu_basicsr',
        'type': 'object',
        'properties': {'model_type': {'type': 'string', 'enum': list(MODEL_TYPES)}},
        'required': ['model_type'],
        'allOf': choices,
        '$defs': schema['$defs'],
    }


def json_schema_text() -> str:
    """Content of `schema.json`."""
    return json.dumps(json_schema(), indent=1, sort_keys=True) + '\n'


class _WithoutTitles(GenerateJsonSchema):
    """Generator without titles of options, which only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
