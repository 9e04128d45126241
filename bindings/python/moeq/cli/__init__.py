"""The command line, `moeq COMMAND ...`: one file per command. Its packages come with `pip install "moeq[cli]"`."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from typing import Any

# For terminals and files that have no Unicode.
PLAIN = {"×": "x", "…": "...", "–": "-", "—": "-"}


def in_plain(error: UnicodeError) -> tuple[str, int]:
    """What is written instead of characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


def stopped_early(*_: Any) -> None:
    """Ctrl-C while packages load: an exception could come out of any of them, as any other one."""
    os.write(2, b"moeq: interrupted\n")
    os._exit(130)


def main() -> None:
    """The program: runs the command in sys.argv and ends with its exit status."""
    # Closed by whoever started us: nobody reads it.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    codecs.register_error("moeq-plain", in_plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="moeq-plain")
    heard = signal.getsignal(signal.SIGINT)  # `nohup` and the like ignore it
    try:
        if heard is signal.default_int_handler:
            signal.signal(signal.SIGINT, stopped_early)
        from ._app import run

        if heard is signal.default_int_handler:
            signal.signal(signal.SIGINT, heard)
        status = run()
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(f"moeq: the command line needs {error.name} (pip install 'moeq[cli]')", file=sys.stderr)
        status = 4
    except KeyboardInterrupt:  # before a command had begun
        print("moeq: interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
