"""Read options files, and recognise those of this package's models."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

OUR_MODELS = ('UncertaintyDSNModel', 'GradientGANModel')
REQUIRED = ('name', 'num_gpu', 'datasets', 'path')


def is_ours(opt: Mapping[str, Any]) -> bool:
    """Whether one of this package's models trains or tests."""
    return opt.get('model_type') in OUR_MODELS


def check_options_file(arguments: list[str]) -> None:
    """Raise a UserError unless the file after `-opt` holds what BasicSR's `parse_options` needs."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('-opt')
    parser.add_argument('--force_yml', nargs='+', default=[])
    args, _ = parser.parse_known_args(arguments)
    if args.opt is None:
        return  # BasicSR's own parser says so
    options = read_options_file(args.opt)
    if not isinstance(options, Mapping):
        raise InputError(f'{args.opt}: expected a mapping of options, got {type(options).__name__}')
    forced = {entry.partition('=')[0].strip() for entry in args.force_yml}
    missing = [key for key in REQUIRED if key not in options and key not in forced]
    if missing:
        raise InputError(f'{args.opt}: missing {", ".join(missing)}; expected all of {", ".join(REQUIRED)}')
    if isinstance(seed := options.get('manual_seed'), int) and seed < 0:
        raise InputError(f'{args.opt}: manual_seed: got {seed}, expected a whole number from 0 on')
    sections = {key: options.get(key, {}) for key in ('datasets', 'path')}
    if isinstance(sections['datasets'], Mapping):
        sections |= {f'datasets: {phase}': dataset for phase, dataset in sections['datasets'].items()}
    for key, section in sections.items():
        if not isinstance(section, Mapping):
            raise InputError(f'{args.opt}: {key} is {section!r}, expected a mapping')


def read_options_file(path: str) -> Any:
    """What BasicSR would make of an options file, before it completes it; a UserError if it cannot be read."""
    import yaml
    from basicsr.utils.options import ordered_yaml

    try:
        with open(path) as file:  # in the same encoding as BasicSR reads it
            return yaml.load(file, Loader=ordered_yaml()[0])
    except FileNotFoundError as error:
        raise InputNotFoundError(f'-opt: the options file {path} does not exist (from {os.getcwd()})') from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'-opt: cannot read the options file {path}: {error}') from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f' line {mark.line + 1}' if mark else ''
        raise InputError(f'-opt: {path}{line}: not valid YAML: {error.problem or error.context}') from error
    except yaml.YAMLError as error:
        raise InputError(f'-opt: {path}: not valid YAML: {error}') from error


def read_network_options(path: str) -> dict[str, Any]:
    """The options of a file whose `network_g` describes a network; a UserError if it does not."""
    options = read_options_file(path)
    if not isinstance(options, Mapping) or not isinstance(options.get('network_g'), Mapping):
        raise InputError(f"-opt: options file '{path}' has no network_g")
    return dict(options)
