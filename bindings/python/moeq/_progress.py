"""How long calls tell how far they are, and how a callback that raises stops them.

One C callback serves all calls. An exception must not cross the library, so it is kept, the work is cancelled, and the
exception comes out of the call in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._cdef import ffi
from ._errors import check
from ._names import word_of

# Stage ("read", "quantize", "write", "verify"), what is being worked on, bytes done and bytes in total.
ProgressFunction = Callable[[str, str, int, int], Any]

GO_ON, STOP = ffi.integer_const("MOEQ_CONTINUE"), 0


class Progress:
    """The callback of one call: `function` and `user` for the library, `check` for the status of the call.

    Also without a callback of the caller's: then Python gets to see signals, so that Ctrl-C stops the work.
    """

    def __init__(self, told: ProgressFunction | None) -> None:
        self.told = told
        self.error: BaseException | None = None
        self.function = _report
        self.user = ffi.new_handle(self)

    def check(self, status: int, err: Any) -> None:
        """Raises what the callback raised, or else what the library says."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # else the exception and this object hold each other
        check(status, err)


def _stopped(kind: Any, error: BaseException, traceback: Any) -> int:
    """Keeps what was raised, also outside of the `try` in the caller's function: a signal comes at any place."""
    ffi.from_handle(traceback.tb_frame.f_locals["user"]).error = error
    return STOP


@ffi.callback("moeq_progress_fn", error=STOP, onerror=_stopped)
def _report(progress: Any, user: Any) -> int:
    self = ffi.from_handle(user)
    if self.told is not None:
        name = ffi.string(progress.name).decode("utf-8", "replace") if progress.name else ""
        self.told(str(word_of("stage", progress.stage)), name, progress.bytes_done, progress.bytes_total)
    return GO_ON
