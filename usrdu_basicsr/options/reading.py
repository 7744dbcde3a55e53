"""Read options files and check what BasicSR's `parse_options` requires of them."""

import argparse
from collections.abc import Mapping
from typing import Any

from usrdu_basicsr.utils.errors import InputError, not_found

STAGE_1, STAGE_2 = MODEL_TYPES = ('UncertaintyDSNModel', 'GradientGANModel')
REQUIRED_KEYS = ('name', 'num_gpu', 'datasets', 'path')


def is_usrdu_model(opt: Mapping[str, Any]) -> bool:
    """Whether the options are for a model of this package."""
    return opt.get('model_type') in MODEL_TYPES


def check_options_file(arguments: list[str]) -> None:
    """Check the options file that follows `-opt` in the command-line arguments of a launcher.

    Raises:
        UserError: If the file is unreadable or lacks what BasicSR's `parse_options` requires.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('-opt')
    parser.add_argument('--force_yml', nargs='+', default=[])
    args, _ = parser.parse_known_args(arguments)
    if args.opt is None:
        return  # BasicSR's parser reports it
    options, where = read_options_file(args.opt), f"-opt: options file '{args.opt}'"
    if not isinstance(options, Mapping):
        raise InputError(f'{where}: got {type(options).__name__}, expected a mapping of options')
    forced_keys = {entry.partition('=')[0].strip() for entry in args.force_yml}
    missing = [key for key in REQUIRED_KEYS if key not in options and key not in forced_keys]
    if missing:
        raise InputError(f'{where}: missing {", ".join(missing)}')
    if isinstance(seed := options.get('manual_seed'), int) and seed < 0:
        raise InputError(f'{where}: manual_seed: got {seed}, expected an integer >= 0')
    sections = {key: options.get(key, {}) for key in ('datasets', 'path')}
    if isinstance(sections['datasets'], Mapping):
        sections |= {f'datasets: {phase}': dataset for phase, dataset in sections['datasets'].items()}
    for key, section in sections.items():
        if not isinstance(section, Mapping):
            raise InputError(f'{where}: {key}: got {section!r}, expected a mapping')


def read_options_file(path: str) -> Any:
    """Parse an options file with BasicSR's YAML loader.

    Raises:
        UserError: If the file does not exist, is unreadable or is not valid YAML.
    """
    import yaml
    from basicsr.utils.options import ordered_yaml

    try:
        with open(path) as file:  # default encoding, as in BasicSR
            return yaml.load(file, Loader=ordered_yaml()[0])
    except FileNotFoundError as error:
        raise not_found(f"-opt: options file '{path}'") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"-opt: cannot read options file '{path}': {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise InputError(f"-opt: options file '{path}', line {line}: invalid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InputError(f"-opt: options file '{path}': invalid YAML: {error}") from error


def read_network_options(path: str) -> dict[str, Any]:
    """Read an options file that describes a network in `network_g`.

    Raises:
        UserError: If the file is unreadable or has no section `network_g`.
    """
    options = read_options_file(path)
    if not isinstance(options, Mapping) or not isinstance(options.get('network_g'), Mapping):
        raise InputError(f"-opt: options file '{path}': missing network_g")
    return dict(options)
