"""BasicSR's training with this package's networks: `python -m usrdu_basicsr.train -opt FILE.yml`.

Writes experiments/ and tb_logger/ into the current folder.
"""

import os
import sys

if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Run as a file: this folder's modules must not hide top-level ones, and the package itself must be found.
    sys.path[0] = os.path.dirname(sys.path[0])

from usrdu_basicsr import register


def main() -> None:
    """Train as the options say."""
    register()
    from basicsr.train import train_pipeline  # after `register`, without which BasicSR may not be importable

    train_pipeline(os.getcwd())


if __name__ == '__main__':
    main()
