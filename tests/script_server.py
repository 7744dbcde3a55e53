"""Server process of `python_process`. It forks a process for each script, which saves importing PyTorch and BasicSR."""

import atexit
import gc
import json
import os
import runpy
import sys


def run(request: dict) -> int:
    """Run a script, or a module after `-m`, in this process with its own folder, environment and output files."""
    os.chdir(request['cwd'])
    os.environ.update(request['environment'])
    for stream, name in ((1, 'stdout'), (2, 'stderr')):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    is_module = request['arguments'][0] == '-m'
    sys.argv = request['arguments'][is_module:]
    sys.path[0] = os.getcwd() if is_module else os.path.dirname(sys.argv[0])
    try:
        if is_module:
            runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f'{error.code}\n')
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == '__main__':  # spawned worker processes import this file under another name
    import usrdu_basicsr

    usrdu_basicsr.register()
    import usrdu_basicsr.inference.upscaler
    import usrdu_basicsr.kernelgan.estimate

    gc.freeze()
    while line := sys.stdin.readline():
        if pid := os.fork():
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            sys.stdout.write(f'{status}\n')
            sys.stdout.flush()
        else:
            status = run(json.loads(line))
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # skips the interpreter shutdown, which takes a second
