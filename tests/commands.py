"""A script as a user starts it, but in this process: starting Python and importing jax takes seconds each time.

Real processes are tested in `test_distributed`, `test_examples` and in tests of what ends a process.
"""

import contextlib
import io
import os
import runpy
import subprocess
import sys
import traceback
from unittest import mock


def start(script, *arguments, cwd) -> subprocess.CompletedProcess:
    """Runs a file as `__main__` in `cwd`; its exit code and what it printed, as a process would leave them."""
    command = [str(script), *map(str, arguments)]
    out, error, before, code = io.StringIO(), io.StringIO(), os.getcwd(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), mock.patch.object(sys, "argv", command):
        os.chdir(cwd)
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            os.chdir(before)
    if isinstance(code, str):  # a message, as Python does with it
        error.write(code + "\n")
        code = 1
    return subprocess.CompletedProcess(command, code or 0, out.getvalue(), error.getvalue())
