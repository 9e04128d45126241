"""together: a part of the program that all ranks leave well, or all with an error."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from .group import RankError, gather, group_of


class together:
    """What may fail on one rank, such as reading a file, before ranks meet in collectives where they would wait for it.

        with moeq.distributed.together("loading"):
            model = load()

    At its end the ranks tell each other how it went. One that failed raises its own error, the others RankError. A rank
    that was killed cannot tell: gloo sees its connections closed at once, other backends after the group's timeout.
    Every rank has to come here; the group's `timeout` (init_process_group) bounds how long one waits for another.
    """

    def __init__(self, what: str, *, group: Any = None) -> None:
        self._what = what
        self._group = group_of("together", group)

    def __enter__(self) -> together:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and not isinstance(error, Exception):
            return  # Ctrl-C, exit: no time to talk
        try:
            told = gather(self._what, None if error is None else f"{type(error).__name__}: {error}", self._group)
        except RankError:
            if error is None:
                raise
            return
        if error is None:
            refuse(self._what, told)


def refuse(what: str, told: list[str | None]) -> None:
    """Raises what other ranks have told."""
    failed = tuple(rank for rank, text in enumerate(told) if text is not None)
    if failed:
        others = f", and {len(failed) - 1} more ranks" if len(failed) > 1 else ""
        raised = RankError(f"moeq.distributed: {what}: rank {failed[0]} failed{others}: {told[failed[0]]}")
        raised.failed = failed
        raise raised
