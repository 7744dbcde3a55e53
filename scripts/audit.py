"""`usrdu audit` under its script name."""

from usrdu_basicsr.cli import audit
from usrdu_basicsr.cli.main import run_as_script

if __name__ == '__main__':
    run_as_script(audit)
