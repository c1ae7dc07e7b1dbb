"""The command `metamcp` run to its end in the process of the tests, where it costs no start of an interpreter.

What shows that the program as a whole does something (signals, terminals, exit codes of the interpreter) runs it as a
process of its own instead; so does at least one test of each group of commands.
"""

import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

from click.testing import CliRunner

from metamcp_asgi.cli import main


def metamcp(*arguments: str, env: Mapping[str, str], cwd: Path, text: str = "") -> CompletedProcess[str]:
    """Runs it with its own event loop, also while one of a test is running.

    Args:
        arguments: of the command.
        env: all its variables.
        cwd: its working directory.
        text: what is on its standard input.

    Raises:
        Exception: what a process would have ended with a traceback for.
    """
    environ = {**dict.fromkeys(os.environ), **env}

    def run() -> CompletedProcess[str]:
        with contextlib.chdir(cwd):
            done = CliRunner().invoke(main, list(arguments), input=text, env=environ)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return CompletedProcess(["metamcp", *arguments], done.exit_code, done.stdout, done.stderr)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
