"""Model card, and a description in the format of OpenModelDB, of the exported network of a run."""

import json
from datetime import date
from pathlib import Path
from typing import Any

from usrdu_basicsr.report.collect import RunResults
from usrdu_basicsr.report.verdict import verdict, warnings
from usrdu_basicsr.utils.files import file_sha256


def model_card(results: RunResults) -> str:
    """Markdown with the use, training, results and limits of a network."""
    header, *metrics = (f'| {" | ".join(row)} |' for row in results.metric_rows())
    limits = [f'- {warning}' for warning in warnings(results)] or ['- none found']
    settings, camera = results.settings, Path(results.settings['lr']).name
    return '\n'.join(
        [
            f'# {results.folder.resolve().name}',
            '',
            *verdict(results),
            '',
            f'Super-resolution of scale {settings["scale"]} for the camera of `{camera}`, trained without pairs by'
            f' usrdu_basicsr: {results.iterations:,} iterations, network `{results.options["network_g"]["type"]}`.',
            '',
            header,
            '|---|---|---|---|',
            *metrics,
            '',
            '## Limits',
            '',
            *limits,
            '- It restores images of this camera. Other cameras have other blur and noise.',
            '',
            '## Licence',
            '',
            'Not stated. It depends on the images, and on the published model that the training started from, if any.',
            '',
        ]
    )


def open_model_db(results: RunResults, weights: Path) -> str:
    """Description of a network in the format of OpenModelDB, JSON; author, licence and URLs are for the user to add.

    See https://github.com/OpenModelDB/open-model-database, src/lib/schema.ts.
    """
    train, network = results.options['datasets']['train'], results.options['network_g']
    content: dict[str, Any] = {
        'name': results.folder.resolve().name,
        'author': [],
        'license': None,
        'tags': ['photo', 'restoration'],
        'description': ' '.join(verdict(results)),
        'date': date.today().isoformat(),
        'architecture': results.architecture,
        'size': [f'{network[key]}{unit}' for key, unit in (('num_feat', 'nf'), ('num_conv', 'nc')) if key in network]
        or None,
        'scale': results.settings['scale'],
        'inputChannels': 3,
        'outputChannels': 3,
        'resources': [
            {
                'platform': 'pytorch',
                'type': 'safetensors',
                'size': weights.stat().st_size,
                'sha256': file_sha256(weights),
                'urls': [],
            }
        ],
        'trainingIterations': results.iterations,
        'trainingBatchSize': train['batch_size_per_gpu'],
        'trainingHRSize': train['gt_size'],
        'trainingOTF': False,
        'dataset': f'HR images of {Path(results.settings["hr"]).name}, degraded as the camera of'
        f' {Path(results.settings["lr"]).name}',
        'images': [],
    }
    return json.dumps(content, indent=4) + '\n'
