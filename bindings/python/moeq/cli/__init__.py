"""The command line, `moeq COMMAND ...`: one file per command. Its packages come with `pip install "moeq[cli]"`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The program: runs the command in sys.argv and ends with its exit status."""
    # Closed by whoever started us: nobody reads it.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    try:
        from ._app import run

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
