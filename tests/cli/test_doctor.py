"""`usrdu doctor` prints the report and exits with 1 if there is a problem."""

import argparse
import json

import pytest

from usrdu_basicsr.cli import doctor as command
from usrdu_basicsr.compat import doctor
from usrdu_basicsr.compat.doctor import Report


def usrdu(*arguments: str) -> int:
    parser = argparse.ArgumentParser('usrdu doctor')
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.mark.parametrize(('problems', 'status'), [([], 0), (['torch is broken. Reinstall it'], 1)])
def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, problems: list[str], status: int):
    sections = {'versions': {'torch': '2.4', 'lmdb': 'not installed'}, 'devices': {'cpu': 'a CPU'}}
    monkeypatch.setattr(doctor, 'examine', lambda: Report(sections, problems, ['two OpenCVs']))
    assert usrdu() == status
    assert capsys.readouterr().out.splitlines() == [
        *('[versions]', 'torch: 2.4', 'lmdb: not installed', '[devices]', 'cpu: a CPU'),
        *(f'problem: {problem}' for problem in problems),
        'warning: two OpenCVs',
    ]
    assert usrdu('--json') == status
    assert json.loads(capsys.readouterr().out) == {
        'sections': sections,
        'problems': problems,
        'warnings': ['two OpenCVs'],
    }
