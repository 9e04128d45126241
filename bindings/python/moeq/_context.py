"""Context: threads, CPU tier and the count of memory."""

from __future__ import annotations

import json
import threading
from typing import Any, NamedTuple

from ._cdef import ffi
from ._errors import StateError, check, new_error
from ._library import lib
from ._names import number_of


class Memory(NamedTuple):
    """Bytes that went through a context: in use now, and the most that ever were."""

    host_live: int
    host_peak: int


def sized(kind: str) -> Any:
    """A zeroed struct with its struct_size set."""
    struct = ffi.new(f"{kind} *")
    struct.struct_size = ffi.sizeof(kind)
    return struct


class Context:
    """Where work runs and memory comes from. Immutable; any number of threads may share it.

    threads: 0 lets cores, affinity and quota decide, 1 is serial.
    cpu_tier: "best", or a lower one to force: "scalar", "avx2", "avx512", "neon". Results are the same bytes on all.
    """

    def __init__(self, threads: int = 0, cpu_tier: str | int = "best") -> None:
        options, out, err = sized("moeq_context_options"), ffi.new("moeq_context **"), new_error()
        options.thread_limit = threads
        options.cpu_tier = number_of("cpu_tier", cpu_tier)
        check(lib.moeq_context_create(options, out, err), err)
        self._handle: Any = ffi.gc(out[0], lib.moeq_context_destroy)

    @property
    def _pointer(self) -> Any:
        if self._handle is None:
            raise StateError("moeq.Context: got a context that was closed; wanted an open one")
        return self._handle

    def memory(self) -> Memory:
        """Bytes in use and the peak, of all that was made with this context."""
        memory, err = sized("moeq_memory"), new_error()
        check(lib.moeq_context_get_memory(self._pointer, memory, err), err)
        return Memory(memory.host_live, memory.host_peak)

    def describe(self) -> dict[str, Any]:
        """What the library found: version, CPU tier and why, threads, backends and why one is absent."""
        out, err = ffi.new("moeq_blob **"), new_error()
        check(lib.moeq_context_describe(self._pointer, out, err), err)
        blob = ffi.gc(out[0], lib.moeq_blob_destroy)
        text = ffi.buffer(ffi.cast("char *", lib.moeq_blob_data(blob)), lib.moeq_blob_size(blob))[:]
        return json.loads(text)

    def close(self) -> None:
        """Lets go of the context. It lives on inside the handles that were made with it."""
        self._handle = None

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_default: Context | None = None
_default_lock = threading.Lock()


def default_context() -> Context:
    """The context of all calls that are given none: all cores, the best CPU tier. Made on first use."""
    global _default
    if _default is None or _default._handle is None:
        with _default_lock:
            if _default is None or _default._handle is None:
                _default = Context()
    return _default
