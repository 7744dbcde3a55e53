"""Build objects of BasicSR's registries from options."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any
from urllib.error import URLError

import torch
from basicsr.utils.registry import Registry

from usrdu_basicsr.utils.errors import InputError, UserError

# Errors of constructors that got invalid settings; `NameError` is raised where an unknown name selects a variable
INVALID_SETTINGS = (*(ValueError, TypeError, LookupError, AttributeError, NameError, AssertionError, RuntimeError),)


def find_registered(registry: Registry, name: str | None) -> Any | None:
    """Class or function registered as `name` or, as in BasicSR, `name_basicsr`; None if there is none."""
    for candidate in (name, f'{name}_basicsr'):
        if candidate in registry:
            return registry.get(candidate)
    return None


def build_from_options(registry: Registry, settings: Mapping[str, Any], where: str) -> Any:
    """Build a registered object without BasicSR's log lines and without changing torch's random state.

    Args:
        registry: Registry that contains `settings: type`.
        settings: Section of the options; it is not modified.
        where: Prefix of error messages, such as `'network_g: '`.

    Raises:
        UserError: If the type is not registered or refuses its settings.
    """
    arguments = deepcopy({key: value for key, value in settings.items() if key != 'type'})
    registered = find_registered(registry, settings.get('type'))
    if registered is None:
        raise InputError(f'{where}type: got {settings.get("type")!r}, which is not registered')
    try:
        with torch.random.fork_rng(devices=[]):
            return registered(**arguments)
    except UserError as error:
        raise type(error)(f'{where}{error}') from error
    except URLError as error:
        raise InputError(f'{where}cannot download the weights ({error.reason}). Use a weights file instead') from error
    except INVALID_SETTINGS as error:
        raise InputError(f'{where}invalid settings of {settings["type"]}: {error}') from error
