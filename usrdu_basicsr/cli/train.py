"""Train with BasicSR and the networks of this package.

Writes experiments/ and tb_logger/ to the current folder. A training stopped by a signal is resumed with --auto_resume.
"""

from usrdu_basicsr.cli.launcher import add_arguments as add_arguments
from usrdu_basicsr.cli.launcher import run as run
