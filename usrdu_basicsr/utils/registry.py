"""Build what a section of the options describes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any
from urllib.error import URLError

import torch
from basicsr.utils.registry import Registry

from usrdu_basicsr.utils.errors import InputError, UserError


def find_registered(registry: Registry, name: str | None) -> Any | None:
    """What is registered under `name`, or under `name_basicsr` as BasicSR does, or None; without BasicSR's print."""
    for candidate in (name, f'{name}_basicsr'):
        if candidate in registry:
            return registry.get(candidate)
    return None


def build(registry: Registry, settings: Mapping[str, Any], where: str) -> Any:
    """An object of BasicSR's registry, without BasicSR's logger and print; torch's random numbers stay as they are.

    Args:
        registry: Where `settings: type` is looked up.
        settings: Section of the options; left as it is.
        where: What to call it in errors, as `'network_g: '`.

    Raises:
        UserError: There is no such type, or it refuses its settings.
    """
    arguments = deepcopy({key: value for key, value in settings.items() if key != 'type'})
    kind = find_registered(registry, settings.get('type'))
    if kind is None:
        raise InputError(f'{where}type: nothing is registered as {settings.get("type")!r}')
    try:
        with torch.random.fork_rng(devices=[]):
            return kind(**arguments)
    except UserError as error:
        raise type(error)(f'{where}{error}') from error
    except URLError as error:
        raise InputError(f'{where}cannot download its weights ({error.reason}); name a file instead') from error
    except (ValueError, TypeError, NotImplementedError, KeyError, AssertionError) as error:
        raise InputError(f'{where}{settings["type"]} refuses its settings: {error}') from error
