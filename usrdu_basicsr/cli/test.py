"""Test with BasicSR and the networks of this package.

Writes results/ to the current folder.
"""

from usrdu_basicsr.cli.launcher import add_arguments as add_arguments
from usrdu_basicsr.cli.launcher import run as run
