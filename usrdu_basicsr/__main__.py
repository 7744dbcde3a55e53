"""The command `usrdu` as `python -m usrdu_basicsr`."""
# PYTHON_ARGCOMPLETE_OK: with this comment, argcomplete's global completion includes this form

from usrdu_basicsr.cli.main import main

if __name__ == '__main__':
    main()
