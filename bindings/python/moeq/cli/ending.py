"""How commands end: the statuses, and the one line that an error is."""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from enum import IntEnum
from typing import Any

import typer

import moeq

from .show.screen import emit
from .show.words import hint_in_words, in_words
from .streams import drop, settle


class Status(IntEnum):
    """Exit statuses. Scripts rely on them: a new meaning gets a new number."""

    OK = 0
    PROBLEMS = 1
    USAGE = 2
    INPUT = 3
    RESOURCES = 4
    FAULT = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS = {
    Status.OK: "done, and nothing is wrong",
    Status.PROBLEMS: "done, and problems or differences were found",
    Status.USAGE: "the command line is wrong",
    Status.INPUT: "a checkpoint is missing, incomplete, damaged, or of a kind that is not understood",
    Status.RESOURCES: "memory, disk, permissions, a package or libmoeq are lacking, or output cannot be written",
    Status.FAULT: "a fault of moeq itself",
    Status.INTERRUPTED: "interrupted; what was finished is kept",
    Status.BROKEN_PIPE: "nobody reads the output any more",
}


class CommandError(Exception):
    """What a command itself finds wrong: one line, a hint, and the status to end with."""

    def __init__(self, message: str, hint: str = "", status: Status = Status.USAGE) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status


INPUT_ERRORS = (
    moeq.FormatError,  # with TruncatedError and DigestError
    moeq.VersionError,
    moeq.IncompleteError,
    moeq.MismatchError,
    moeq.NotFoundError,
    moeq.LimitError,
    moeq.BadValueError,
    moeq.DuplicateError,
)
RESOURCE_ERRORS = (moeq.OutOfMemoryError, moeq.DeviceMemoryError, moeq.BackendError, moeq.CudaError)
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)

FULL = (errno.ENOSPC, errno.EDQUOT)


def status_of(error: BaseException) -> Status:
    """The exit status for what a command raised."""
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, KeyboardInterrupt):
        return Status.INTERRUPTED
    if isinstance(error, OSError):  # moeq.FileError too
        return Status.INPUT if error.errno in ABSENT else Status.RESOURCES
    if isinstance(error, INPUT_ERRORS) or str(getattr(error, "class_id", "")).startswith("F"):
        return Status.INPUT
    if isinstance(error, (*RESOURCE_ERRORS, MemoryError, ImportError)):
        return Status.RESOURCES
    if isinstance(error, moeq.MoeqError) and not isinstance(error, moeq.InternalError):
        return Status.USAGE
    return Status.FAULT


HINTS: list[tuple[type | tuple[type, ...], str]] = [
    (moeq.FormatError, "copy or download the file again"),
    (moeq.IncompleteError, "copy or download what is missing"),
    (moeq.NotFoundError, "check the path"),
    ((MemoryError, moeq.DeviceMemoryError), "moeq plan tells what it takes"),
]


def hint_for(error: BaseException, status: Status, options: Collection[str] = ()) -> str:
    """What to do about it."""
    if isinstance(error, CommandError):
        return error.hint
    own = hint_in_words(error, options)
    if own:
        return own
    if isinstance(error, moeq.FileError) and error.errno in FULL and "target" in options:
        return "make room; the same command goes on from there"
    if isinstance(error, ImportError) and error.name:
        return f"pip install 'moeq[{'ray' if error.name == 'ray' else 'cli'}]'"
    if status is Status.FAULT:
        return "this is a fault of moeq; MOEQ_DEBUG=1 shows where"
    return next((hint for kind, hint in HINTS if isinstance(error, kind)), "")


def one_line(error: BaseException, options: Collection[str] = ()) -> str:
    """The message of an error without line breaks and control characters, in words of the command line."""
    if isinstance(error, KeyboardInterrupt):
        message = f"interrupted{'; ' if str(error) else ''}{error}"
    elif isinstance(error, (moeq.MoeqError, moeq.LibraryNotFoundError)):
        message = in_words(error, options)
    elif isinstance(error, OSError):
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    elif isinstance(error, KeyError):
        message = f"no key {error}"
    else:
        message = str(error) or type(error).__name__
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())


def complain(error: BaseException, options: Mapping[str, Any] | None = None) -> Status:
    """Prints one line on standard error, and everything with MOEQ_DEBUG=1; returns the status to end with.

    options: of the command. With --json standard output gets a document about the error.
    """
    options = options or {}
    status = status_of(error)
    settle()
    message, hint = one_line(error, options), hint_for(error, status, options)
    if status is Status.FAULT:
        message = f"{type(error).__name__}: {message}"
    try:
        if os.environ.get("MOEQ_DEBUG", "") not in ("", "0"):
            traceback.print_exception(error, file=sys.stderr)
        print(f"moeq: {message} ({hint})" if hint else f"moeq: {message}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads it
    if options.get("json"):
        try:
            emit({"error": {"status": int(status), "message": message, "hint": hint}})
        except BrokenPipeError:
            return broken_pipe()
        except OSError:
            settle()  # standard output is what is wrong, too
    return status


def broken_pipe() -> Status:
    """Ends quietly when the reader of our output has gone; what is still buffered goes nowhere."""
    drop(sys.stdout)
    return Status.BROKEN_PIPE


def ended(command: Callable[..., Status | None]) -> Callable[..., None]:
    """A command whose errors are one line and whose result is an exit status."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            status = command(*arguments, **options) or Status.OK
            sys.stdout.flush()
        except BrokenPipeError:
            status = broken_pipe()
        except typer.Exit:
            raise
        except BaseException as error:
            status = complain(error, options)
        raise typer.Exit(int(status))

    return wrapped
