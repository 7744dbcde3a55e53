"""`usrdu fit` under its script name."""

from usrdu_basicsr.cli import fit
from usrdu_basicsr.cli.main import run_as_script

if __name__ == '__main__':
    run_as_script(fit)
