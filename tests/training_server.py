"""Server process of `trainings`. It forks a process for each training, because imports take longer than training."""

import gc
import json
import os
import sys

from usrdu_basicsr import register

register()
import basicsr.train  # noqa: E402
import cv2  # noqa: E402, F401
from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402
from torch import nn  # noqa: E402

import usrdu_basicsr.compat.preflight  # noqa: E402, F401
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN  # noqa: E402


@ARCH_REGISTRY.register()
class SmallDSN(UncertaintyDSN):
    """DSN with a feature head of one channel; the 512 channels of `UncertaintyDSN` make a checkpoint of 68 MB."""

    def __init__(self, num_feat: int, num_block: int, scale: int) -> None:
        super().__init__(num_feat=num_feat, num_block=num_block, scale=scale)
        self.feature_head = nn.Conv2d(num_feat, 1, 1)


def fork_child(request: dict) -> int:
    """Fork a process and set it up for the request. Return 0 in this process and its ID in the server."""
    if pid := os.fork():
        return pid
    os.chdir(request['folder'])
    output = os.open(request['output'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    sys.argv = ['train.py', *request['arguments']]
    return 0


def answer(number: int) -> None:
    sys.stdout.write(f'{number}\n')
    sys.stdout.flush()


if __name__ == '__main__':  # spawned data workers import this file under another name
    gc.freeze()
    while line := sys.stdin.readline():
        request = json.loads(line)
        if 'wait' in request:
            answer(os.waitstatus_to_exitcode(os.waitpid(request['wait'], 0)[1]))
        elif pid := fork_child(request):
            answer(pid)
        else:
            exec(request['before'])
            basicsr.train.train_pipeline(os.getcwd())
            break
