"""Sections of BasicSR's components (networks, losses, metrics, schedulers, optimizers), by their signatures."""

import inspect
import re
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import torch
from annotated_types import Len
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, Registry
from pydantic import Field, create_model

from usrdu_basicsr.options.schema.by_type import ByType
from usrdu_basicsr.options.schema.section import Section

SCALARS = (bool, int, float, str, type(None))
SCHEDULERS: dict[str, Callable[..., Any]] = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}
OPTIMIZERS: dict[str, Callable[..., Any]] = {'Adam': torch.optim.Adam}  # the only one that BasicSR's BaseModel supports
GIVEN = {'img', 'img2', 'log_scale', 'optimizer', 'params'}  # arguments that do not come from the options


class Component(Section):
    """Base class of the sections of components. Its options are the parameters of a class or function."""

    type: str
    """Registered name."""


class Metric(Component):
    """Base class of the sections of metrics."""

    better: Literal['higher', 'lower'] = 'higher'
    """Whether a higher or a lower value is better."""


@cache
def section_of(function: Callable[..., Any], base: type[Component] = Component) -> type[Section]:
    """Create the section of a component from the signature of its class or function."""
    described = parameter_docs(function)
    options: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in GIVEN:
            continue
        default = ... if parameter.default is parameter.empty else _plain(parameter.default)
        options[parameter.name] = (
            _type_of(parameter),
            Field(default, description=described.get(parameter.name), validate_default=False),
        )
    module = function.__module__
    return create_model(function.__name__, __base__=base, __doc__=_summary(function), __module__=module, **options)


def _plain(default: Any) -> Any:
    """Return a default as YAML has it; None for other objects."""
    if isinstance(default, (tuple, list)):
        return [_plain(item) for item in default]
    return default if isinstance(default, (*SCALARS, dict)) else None


def _type_of(parameter: inspect.Parameter) -> Any:
    """Type of the values of a parameter: that of its annotation or, without one, of its default."""
    if parameter.annotation is not parameter.empty:
        return _yaml_type(parameter.annotation)
    default = parameter.default
    if isinstance(default, (bool, str)):
        return type(default)
    if isinstance(default, (int, float)):
        return float  # includes integers; many of BasicSR's fractions have an integer as default
    return list[Any] if isinstance(default, (tuple, list)) else Any


def _yaml_type(annotation: Any) -> Any:
    """Convert an annotation to the type of the values that YAML can have; others are not restricted."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in SCALARS or annotation is None or origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        converted = [_yaml_type(each) for each in arguments if not _is_tensor(each)]
        return Union[tuple(converted)]  # noqa: UP007
    if origin in (tuple, list) and arguments:
        length = None if origin is list or arguments[-1] is ... else len(arguments)
        items: Any = list[_yaml_type(arguments[0])]  # type: ignore[misc]
        return items if length is None else Annotated[items, Len(length, length)]
    return Any


def _is_tensor(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, torch.Tensor)


def parameter_docs(function: Callable[..., Any]) -> dict[str, str]:
    """Read the descriptions of parameters from a Google-style docstring."""
    text = inspect.getdoc(function) or ''
    arguments = re.search(r'^Args:\n((?:[ \t]+.*\n?|\n)+)', text, re.MULTILINE)
    if arguments is None:
        return {}
    found = re.findall(r'^ {4}(\w+)[^:\n]*: ((?:.*(?:\n {5,}.*)*))', arguments[1], re.MULTILINE)
    # without defaults, which the signature has
    return {name: re.split(r' \(?[Dd]efault:', ' '.join(text.split()))[0] for name, text in found}


def _summary(function: Callable[..., Any]) -> str:
    paragraph = re.split(r'\n\n|\n *Args:', inspect.getdoc(function) or function.__name__)[0]
    return ' '.join(paragraph.split())


def _accepts(function: Callable[..., Any], name: str) -> bool:
    return any(name in parameter for parameter in inspect.signature(function).parameters)


def is_dsn(network: Callable[..., Any]) -> bool:
    """Whether a network class predicts a distribution of LR images."""
    return _accepts(network.forward, 'with_features')  # type: ignore[attr-defined]


def uses_log_scale(loss: Callable[..., Any]) -> bool:
    """Whether a loss compares a distribution, as those of stage 1 do."""
    return _accepts(loss.forward, 'log_scale')  # type: ignore[attr-defined]


def registered_sections(
    registry: Registry | Mapping[str, Any],
    supports: Callable[[Callable[..., Any]], bool] = lambda component: True,
    base: type[Component] = Component,
) -> dict[str, type[Section]]:
    """Sections of the supported components of a registry, by name with and without BasicSR's suffix `_basicsr`."""
    components: dict[str, Any] = {name: registry.get(name) for name in registry.keys()}  # noqa: SIM118
    sections = {name: section_of(each, base) for name, each in components.items() if supports(each)}
    return {name.removesuffix('_basicsr'): section for name, section in sections.items()} | sections


def registered_names(registry: Registry | Mapping[str, Any]) -> set[str]:
    """Names of a registry, with and without BasicSR's suffix `_basicsr`."""
    return {each for name in registry.keys() for each in (name, name.removesuffix('_basicsr'))}  # noqa: SIM118


def _by_type(where: str, registry: Any, **selection: Any) -> ByType:
    return ByType(lambda: registered_sections(registry, **selection), lambda: registered_names(registry), where)


Mapped = dict[str, Any]
DSN = Annotated[Mapped, _by_type('in stage 1', ARCH_REGISTRY, supports=is_dsn)]
OnlineDSN = Annotated[Mapped, _by_type('as network_dsn', ARCH_REGISTRY, supports=is_dsn)]
Generator = Annotated[Mapped, _by_type('in stage 2', ARCH_REGISTRY, supports=lambda network: not is_dsn(network))]
Discriminator = Annotated[Mapped, _by_type('as network_d', ARCH_REGISTRY, supports=lambda network: not is_dsn(network))]
UncertaintyLoss = Annotated[Mapped, _by_type('in stage 1', LOSS_REGISTRY, supports=uses_log_scale)]
ImageLoss = Annotated[Mapped, _by_type('in stage 2', LOSS_REGISTRY, supports=lambda loss: not uses_log_scale(loss))]
GANLoss = Annotated[Mapped, _by_type('as gan_opt', LOSS_REGISTRY, supports=lambda loss: not uses_log_scale(loss))]
Scheduler = Annotated[Mapped, _by_type('by BasicSR', SCHEDULERS)]
Optimizer = Annotated[Mapped, _by_type('by BasicSR', OPTIMIZERS)]
DSNMetric = Annotated[Mapped, _by_type('in stage 1', METRIC_REGISTRY, base=Metric)]
SRMetric = Annotated[
    Mapped,
    _by_type('in stage 2', METRIC_REGISTRY, base=Metric, supports=lambda metric: not _accepts(metric, 'log_scale')),
]
