"""Train with BasicSR and the networks of this package: `python -m usrdu_basicsr.train -opt FILE.yml`.

Writes experiments/ and tb_logger/ to the current folder.
"""

import os
import sys

if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Run as a script: replace this folder, whose modules hide top-level ones, by the folder of the package.
    sys.path[0] = os.path.dirname(sys.path[0])

from usrdu_basicsr import register

if __name__ == '__main__':
    register()
    from basicsr.train import train_pipeline  # after `register`, without which BasicSR may not be importable

    train_pipeline(os.getcwd())
