"""Types of options that name a file or folder, whose existence is checked before a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo

from usrdu_basicsr.options.schema.section import problem
from usrdu_basicsr.utils.errors import UserError, not_found
from usrdu_basicsr.utils.files import input_folder

CHECK_PATHS, RESUMES = 'check_paths', 'resumes'  # keys of pydantic's validation context


def _existing(check: Callable[[Path], object], unless_resumed: bool = False) -> AfterValidator:
    """Validator that checks a path if the context of the validation asks for it."""

    def validate(value: str, info: ValidationInfo) -> str:
        context = info.context or {}
        if context.get(CHECK_PATHS) and not (unless_resumed and context.get(RESUMES)):
            try:
                check(Path(value))
            except UserError as error:
                raise ValidationError.from_exception_data('path', [problem('value', str(error), (), value)]) from error
        return value

    return AfterValidator(validate)


def _check_file(noun: str, expand: Callable[[Path], Path] = lambda path: path) -> Callable[[Path], object]:
    def check(path: Path) -> None:
        if not expand(path).is_file():
            raise not_found(f"{noun} '{path}'")

    return check


def _as_text(value: Any) -> Any:
    """Python programs that build datasets and models may have `Path` objects in their options."""
    return str(value) if isinstance(value, Path) else value


def _check_folder(path: Path) -> None:
    input_folder(path.expanduser())  # BasicSR expands these paths and those of checkpoints


Text = Annotated[str, Field(min_length=1), BeforeValidator(_as_text)]
Folder = Annotated[Text, _existing(_check_folder)]  # also an LMDB
MetaInfo = Annotated[Text, _existing(_check_file('meta info'))]
Checkpoint = Annotated[Text, _existing(_check_file('checkpoint', Path.expanduser))]
InitialCheckpoint = Annotated[Text, _existing(_check_file('checkpoint', Path.expanduser), unless_resumed=True)]
State = Annotated[Text, _existing(_check_file('training state', Path.expanduser))]
