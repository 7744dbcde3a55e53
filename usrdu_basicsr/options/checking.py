"""Check an options file against the schema: all problems at once, each with its file and line."""

from collections.abc import Iterable, Iterator
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import ValidationError

from usrdu_basicsr.options.reading import MODEL_TYPES, KeyPath, OptionsFile, Problem, read_model_type
from usrdu_basicsr.options.schema.describe import any_of, nearest
from usrdu_basicsr.options.schema.paths import CHECK_PATHS, RESUMES
from usrdu_basicsr.options.schema.run import RUNS, RunOptions
from usrdu_basicsr.options.schema.section import Section, problem_text
from usrdu_basicsr.utils.errors import InputError


def is_for_this_package(path: str, forced: Iterable[str] = ()) -> bool:
    """Whether an options file, changed by `--force_yml`, is for a model of this package.

    Raises:
        UserError: If the file cannot be read, or its `model_type` is a misspelled one of this package.
    """
    model_type = read_model_type(path, forced)
    if model_type is None:
        return False
    if model_type not in MODEL_REGISTRY and (advice := nearest(model_type, MODEL_TYPES, cutoff=0.85)):
        raise InputError(f"-opt: options file '{path}': model_type: got {model_type!r}, {advice}")
    return model_type in MODEL_TYPES


def check_options(file: OptionsFile, is_train: bool, check_paths: bool = False, resumes: bool = False) -> list[Problem]:
    """Find the problems of an options file of one of this package's models.

    Args:
        file: Options file.
        is_train: Whether it is for a training, otherwise for a test.
        check_paths: Whether to check that the files and folders exist; they are not read.
        resumes: Whether the training is resumed, and `pretrain_network_g` and `_d` are not needed.
    """
    run = RUNS[file.options['model_type'], is_train]
    problems = list(file.problems)
    try:
        run.model_validate(file.options, context={CHECK_PATHS: check_paths, RESUMES: resumes})
    except ValidationError as error:
        for each in error.errors():
            path, context = each['loc'], each['ctx']
            text = problem_text(path, context)
            if context['form'] == 'unknown':
                text += f': {_advice(run, path, context["known"])}'
            problems.append(Problem(file.location(path), text, path))
    return sorted(problems)


def raise_problems(file: OptionsFile, problems: Iterable[Problem]) -> None:
    """Raise an InputError that lists the problems, if there are any."""
    lines = list(dict.fromkeys(map(str, problems)))  # an option may be refused for two reasons in the same words
    if len(lines) == 1:
        raise InputError(lines[0])
    if lines:
        raise InputError('\n'.join([f"{len(lines)} problems in options file '{file.path}'", *lines]))


def _advice(run: type[RunOptions], path: KeyPath, known: list[str]) -> str:
    """Advice for an unknown key: the runs that support it, the nearest key, its place, or all known keys."""
    if runs := [other.label for other in RUNS.values() if path in option_paths(other)]:
        return f'supported in {" and ".join(runs)} only'
    key = str(path[-1])
    if suggestion := nearest(key, known):
        return suggestion
    if places := [each for each in option_paths(run) if each[-1] == key and each != path]:
        return f'did you mean {": ".join(places[0])!r}?'
    return f'expected {any_of(sorted(known))}'


def option_paths(section: type[Section], prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """Paths of the options of a section and of its sections, except those that depend on a `type`."""
    for key, field in section.model_fields.items():
        yield (*prefix, key)
        for inner in section_types(field.annotation):
            yield from option_paths(inner, (*prefix, key))


def section_types(annotation: Any) -> list[type[Section]]:
    """Section classes in an annotation such as `LoggerOptions | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [inner for each in getattr(annotation, '__args__', ()) for inner in section_types(each)]
