"""Report the environment, to paste into an issue: versions, devices, start-up hook, BasicSR patches, known conflicts.

The exit status is 1 if something that training needs does not work.
"""

import argparse
import json
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument('--json', action='store_true', help='print the report as JSON')


def run(args: argparse.Namespace) -> int:
    """Print the report and return the exit status."""
    from usrdu_basicsr.compat.doctor import examine

    report = examine()
    if args.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        for section, lines in report.sections.items():
            print(f'[{section}]', *(f'{key}: {value}' for key, value in lines.items()), sep='\n')
        for kind, messages in (('problem', report.problems), ('warning', report.warnings)):
            for message in messages:
                print(f'{kind}: {message}')
    return 1 if report.problems else 0
