"""Sections of BasicSR's components (networks, losses, metrics, schedulers, optimizers), by their signatures."""

import inspect
import re
import types
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, Registry
from pydantic import ConfigDict, Field, create_model

from usrdu_basicsr.options.schema.by_type import ByType, Mapped
from usrdu_basicsr.options.schema.section import Iteration, Iterations, NonNegativeInteger, PositiveInteger, Section
from usrdu_basicsr.utils.registry import find_registered

SCALARS = (bool, int, float, str, type(None))
SCHEDULERS: dict[str, Callable[..., Any]] = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}
LOWER_IS_BETTER = {'calculate_dists', 'calculate_laplace_nll', 'calculate_lpips', 'calculate_niqe'}
OPTIMIZERS: dict[str, Callable[..., Any]] = {'Adam': torch.optim.Adam}  # the only one that BasicSR's BaseModel supports
GIVEN = {'img', 'img2', 'log_scale', 'device', 'optimizer', 'params'}  # arguments that do not come from the options
# Values of parameters whose annotation or default says too little
TYPES: dict[str, Any] = {
    **dict.fromkeys(('num_in_ch', 'num_out_ch', 'num_feat', 'num_block', 'num_conv', 'num_grow_ch'), PositiveInteger),
    'crop_border': NonNegativeInteger,
    'milestones': list[Iteration],
    'periods': list[Iterations],
    'restarts': list[Iteration],
    'restart_weights': list[float],
    'layer_weights': dict[str, float],
    'gan_type': Literal['vanilla', 'lsgan', 'wgan', 'wgan_softplus', 'hinge'],
    'reduction': Literal['mean', 'sum'],
    'criterion': Literal['l1', 'l2', 'fro'],
    'img_size': Any,  # of SwinIR: a number or a list
}


class Component(Section):
    """Base class of the sections of components. Its options are the parameters of a class or function."""

    null_is_default = False
    type: str
    """Registered name."""


class Metric(Component):
    """Base class of the sections of metrics."""

    better: Literal['higher', 'lower'] = 'higher'
    """Whether a higher or a lower value is better."""


class LowerIsBetter(Metric):
    """Base class of the sections of metrics whose lower values are better."""

    better: Literal['lower']
    """Required, because BasicSR's default is `higher`."""


@cache
def section_of(function: Callable[..., Any], base: type[Component] = Component) -> type[Section]:
    """Create the section of a component from the signature of its class or function."""
    if base is Metric and function.__name__ in LOWER_IS_BETTER:
        base = LowerIsBetter
    described = parameter_docs(function)
    options: dict[str, Any] = {}
    is_open = False  # whether there may be options that the signature does not tell
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in GIVEN:
            is_open |= parameter.kind is parameter.VAR_KEYWORD and not is_known(function)
        elif name.startswith('_') or hasattr(base, name):  # a name that pydantic reserves
            is_open = True
        else:
            default = ... if parameter.default is parameter.empty else _plain(parameter.default)
            field = Field(default, description=described.get(name), validate_default=False)
            options[name] = (_type_of(parameter, is_known(function)), field)
    if is_open:
        base = type('Open', (base,), {'model_config': ConfigDict(extra='allow'), '__module__': __name__})
    module = function.__module__
    return create_model(function.__name__, __base__=base, __doc__=_summary(function), __module__=module, **options)


def is_known(function: Callable[..., Any]) -> bool:
    """Whether a component is one of BasicSR, PyTorch or this package."""
    return function.__module__.partition('.')[0] in ('basicsr', 'torch', 'usrdu_basicsr')


def _plain(default: Any) -> Any:
    """Return a default as YAML has it; None for other objects."""
    if isinstance(default, (tuple, list)):
        return [_plain(item) for item in default]
    return default if isinstance(default, (*SCALARS, dict)) else None


def _type_of(parameter: inspect.Parameter, is_known: bool) -> Any:
    """Type of the values of a parameter: by its name, its annotation or its default."""
    default = parameter.default
    if is_known and parameter.name in TYPES:
        return TYPES[parameter.name]
    if parameter.annotation is not parameter.empty:
        values = _yaml_type(parameter.annotation)
        return values | None if default is None and values is not Any else values
    if not is_known:  # its default may be one of several types
        return Any
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
        return items if length is None else Annotated[items, Field(min_length=length, max_length=length)]
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
    return {name: re.split(r'\s*(?:Defaults?:? |\(default: )', ' '.join(text.split()))[0] for name, text in found}


def _summary(function: Callable[..., Any]) -> str:
    paragraph = re.split(r'\n\n|\n *Args:', inspect.getdoc(function) or function.__name__)[0]
    return ' '.join(paragraph.split())


def _forward(component: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters of a network's or loss's `forward`, or of a function."""
    parameters = inspect.signature(getattr(component, 'forward', component)).parameters
    return {name: parameter for name, parameter in parameters.items() if name != 'self'}


def is_dsn(network: Callable[..., Any]) -> bool:
    """Whether a network class predicts a distribution of LR images."""
    return 'with_features' in _forward(network)


def is_trainable_dsn(network: Callable[..., Any]) -> bool:
    """Whether a network class is a DSN with weights."""
    return is_dsn(network) and getattr(network, 'trainable', True)


def maps_an_image(network: Callable[..., Any]) -> bool:
    """Whether a network class has one required input, and is no DSN."""
    required = [each for each in _forward(network).values() if each.default is each.empty and each.kind < 2]
    return len(required) == 1 and not is_dsn(network)


def is_gan_loss(loss: Callable[..., Any]) -> bool:
    """Whether a loss compares the outputs of a discriminator with a label."""
    return 'target_is_real' in _forward(loss) or not is_known(loss)


def is_vgg_loss(loss: Callable[..., Any]) -> bool:
    """Whether a loss returns a perceptual and a style loss, as BasicSR's `PerceptualLoss`."""
    return 'layer_weights' in inspect.signature(loss).parameters or not is_known(loss)


def is_pixel_loss(loss: Callable[..., Any]) -> bool:
    """Whether a loss compares an image with a target."""
    return (list(_forward(loss))[:2] == ['pred', 'target'] and 'log_scale' not in _forward(loss)) or not is_known(loss)


def uses_log_scale(loss: Callable[..., Any]) -> bool:
    """Whether a loss compares a distribution of images with a target."""
    return 'log_scale' in _forward(loss)


def uses_feature_log_scale(loss: Callable[..., Any]) -> bool:
    """Whether a loss compares a distribution of features with those of a target."""
    return 'feature_log_scale' in _forward(loss)


def _by_type(
    where: str,
    registry: Registry | Mapping[str, Any],
    supports: Callable[[Callable[..., Any]], bool] = lambda component: True,
    base: type[Component] = Component,
) -> ByType:
    def supported() -> dict[str, Any]:
        components: dict[str, Any] = {name: registry.get(name) for name in registry.keys()}  # noqa: SIM118
        components = {name: component for name, component in components.items() if supports(component)}
        return {name.removesuffix('_basicsr'): component for name, component in components.items()} | components

    return ByType(
        supported,
        partial(section_of, base=base),
        lambda name: find_registered(registry, name) is not None,
        where,
    )


DSN = Annotated[Mapped, _by_type('in stage 1', ARCH_REGISTRY, is_trainable_dsn)]
OnlineDSN = Annotated[Mapped, _by_type('as network_dsn', ARCH_REGISTRY, is_dsn)]
Generator = Annotated[Mapped, _by_type('in stage 2', ARCH_REGISTRY, maps_an_image)]
Discriminator = Annotated[Mapped, _by_type('as network_d', ARCH_REGISTRY, maps_an_image)]
UncertaintyLoss = Annotated[Mapped, _by_type('in stage 1', LOSS_REGISTRY, uses_log_scale)]
FeatureUncertaintyLoss = Annotated[Mapped, _by_type('in stage 1', LOSS_REGISTRY, uses_feature_log_scale)]
PixelLoss = Annotated[Mapped, _by_type('in stage 2', LOSS_REGISTRY, is_pixel_loss)]
VGGLoss = Annotated[Mapped, _by_type('in stage 2', LOSS_REGISTRY, is_vgg_loss)]
GANLoss = Annotated[Mapped, _by_type('as gan_opt', LOSS_REGISTRY, is_gan_loss)]
Scheduler = Annotated[Mapped, _by_type('by BasicSR', SCHEDULERS)]
Optimizer = Annotated[Mapped, _by_type('by BasicSR', OPTIMIZERS)]
DSNMetric = Annotated[Mapped, _by_type('in stage 1', METRIC_REGISTRY, base=Metric)]
SRMetric = Annotated[
    Mapped,
    _by_type('in stage 2', METRIC_REGISTRY, lambda metric: 'log_scale' not in _forward(metric), Metric),
]
