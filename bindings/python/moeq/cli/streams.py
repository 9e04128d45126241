"""Standard output and standard error: what cannot be written is an error that says so, and no second one at the end."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import IO, Any

# For terminals and files that have no Unicode.
PLAIN = {"×": "x", "…": "...", "–": "-", "—": "-"}
ERRORS = "moeq-plain"


def in_plain(error: UnicodeError) -> tuple[str, int]:
    """What is written instead of characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


class Output(io.FileIO):
    """A descriptor whose errors say which it is; those of other files do by themselves."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            raise
        except OSError as error:
            error.filename = "standard output"
            raise


def prepare() -> None:
    """Puts streams of our own in the place of the interpreter's."""
    codecs.register_error(ERRORS, in_plain)
    for number in range(3):
        fill(number)
    if sys.stderr is None:  # closed by whoever started us: nobody reads it
        sys.stderr = open(os.devnull, "w")
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors=ERRORS)
    given = sys.stdout
    if given is not None and not isinstance(given, io.TextIOWrapper):
        return  # of a program that calls main() itself
    # Writing to what is closed fails as it does elsewhere; any descriptor that is not for writing does.
    descriptor = os.open(os.devnull, os.O_RDONLY) if given is None else given.fileno()
    raw = Output(descriptor, "w", closefd=False)
    unbuffered = given is not None and given.write_through
    sys.stdout = io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[arg-type]
        encoding=None if given is None else given.encoding,
        errors=ERRORS,
        line_buffering=given is not None and given.line_buffering,
        write_through=unbuffered,
    )


def fill(number: int) -> None:
    """Takes a descriptor that was closed, so that no file gets it, into which others would write."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # the lowest that is free


def drop(stream: IO[str]) -> None:
    """What a stream still holds, and all that is written to it later, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def settle() -> None:
    """Lets go of what cannot be written: the interpreter would tell of it again, and end with a status of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            drop(stream)
