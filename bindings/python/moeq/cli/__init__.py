"""The command line, `moeq COMMAND ...`: one file per command. Its packages come with `pip install "moeq[cli]"`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any

from . import streams


def stopped_early(*_: Any) -> None:
    """Ctrl-C while packages load: an exception could come out of any of them, as any other one."""
    os.write(2, b"moeq: interrupted\n")
    os._exit(130)


def main() -> None:
    """The program: runs the command in sys.argv and ends with its exit status."""
    streams.prepare()
    heard = signal.getsignal(signal.SIGINT)  # `nohup` and the like ignore it
    try:
        if heard is signal.default_int_handler:
            signal.signal(signal.SIGINT, stopped_early)
        from .app import run

        if heard is signal.default_int_handler:
            signal.signal(signal.SIGINT, heard)
        status = run()
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        tell(f"the command line needs {error.name} (pip install 'moeq[cli]')")
        status = 4
    except KeyboardInterrupt:  # before a command had begun
        tell("interrupted")
        status = 130
    streams.settle()
    sys.exit(status)


def tell(message: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        print(f"moeq: {message}", file=sys.stderr)
