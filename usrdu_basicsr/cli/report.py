"""Write the report of a run of `usrdu fit` again: report.html, and the model card beside the exported weights."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('run', type=Path, help='folder of the run')


def run(args: argparse.Namespace) -> int:
    """Run the command and return 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.report.collect import collect
    from usrdu_basicsr.report.model_card import model_card, open_model_db
    from usrdu_basicsr.report.page import report_page
    from usrdu_basicsr.report.run_folder import REPORT, WEIGHTS
    from usrdu_basicsr.utils.files import write_text

    results, weights = collect(args.run), args.run / WEIGHTS
    write_text(args.run / REPORT, report_page(results))
    print(f'Wrote {args.run / REPORT}')
    if weights.is_file():
        write_text(weights.with_name('model_card.md'), model_card(results))
        write_text(weights.with_suffix('.json'), open_model_db(results, weights))
        print(f'Wrote {weights.with_name("model_card.md")} and {weights.with_suffix(".json")}')
    return 0
