"""Long work: a bar on a terminal, Ctrl-C, and what the process used."""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from .. import ProgressFunction
from .show.screen import console, duration, nbytes, printable, rate

NAME_WIDTHS = 12, 44  # least and most characters of what is being worked on; longer names lose their beginning
FIGURES_WIDTH = 76  # what stage, bar, bytes, rate and time take beside it
ROOMY = 80  # characters of a terminal that has room for all figures
POLL_SECONDS = 0.05


class Figure(ProgressColumn):
    """A column that stays on one line."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))


class BytesColumn(Figure):
    """ "1.20 of 57.10 GB"."""

    def render(self, task: Task) -> Text:
        if not task.total:
            return Text("")
        done, (total, unit) = nbytes(task.completed), nbytes(task.total).split(" ")
        number, own = done.split(" ")
        return Text(f"{number if own == unit else done} of {total} {unit}", justify="right")


class RateColumn(Figure):
    def render(self, task: Task) -> Text:
        return Text(rate(task.speed, 1) if task.speed else "- GB/s", style="cyan", justify="right")


class LeftColumn(Figure):
    """Time left at the present rate."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text("" if left is None else f"{duration(left)} left", justify="right")


class Bar:
    """A bar on standard error. A terminal shows it; anything else, and `shown=False`, gets nothing."""

    def __init__(self, shown: bool = True) -> None:
        screen = console(remarks=True)
        self.bytes_done = self.bytes_total = 0
        self._base = 0
        self._task: Any = None
        self._progress: Progress | None = None
        if shown and screen.is_terminal and not screen.is_dumb_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                *((BytesColumn(), RateColumn()) if screen.width >= ROOMY else ()),
                LeftColumn(),
                console=screen,
                transient=True,
                speed_estimate_period=10,
            )

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
            self._task = self._progress.add_task("", total=None)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def tell(self, stage: str, name: str, done: int, total: int) -> None:
        """What the library calls."""
        self.bytes_done, self.bytes_total = done, total
        if self._progress is not None:
            name = printable(name)
            least, most = NAME_WIDTHS
            width = min(max(self._progress.console.width - FIGURES_WIDTH, least), most)
            short = name if len(name) <= width else "…" + name[1 - width :]
            self._progress.update(
                self._task, description=f"{stage:8} {short:{width}}", completed=done, total=total or None
            )


class Interrupted(KeyboardInterrupt):
    """Raised inside the library's callback, so that the work stops and leaves nothing half-written."""


def run(work: Callable[[ProgressFunction], Any], *, shown: bool = True, resume: str = "") -> Any:
    """Calls work(progress) and returns what it returns.

    The work runs in a thread of its own, so that Ctrl-C (and SIGTERM) reaches this one at once: the work is told to
    stop through its progress callback, and then KeyboardInterrupt is raised here, with `resume` as its message.
    """
    stop, finished = threading.Event(), threading.Event()
    outcome: dict[str, Any] = {}

    with Bar(shown) as bar:

        def tell(stage: str, name: str, done: int, total: int) -> None:
            if stop.is_set():
                raise Interrupted
            bar.tell(stage, name, done, total)

        def body() -> None:
            try:
                outcome["value"] = work(tell)
            except BaseException as error:
                outcome["error"] = error
            finally:
                finished.set()

        thread = threading.Thread(target=body, name="moeq-work", daemon=True)
        with Terminations():
            thread.start()
            while not finished.is_set():
                try:
                    # Not thread.join: interrupted, it takes a thread that runs for one that has ended.
                    finished.wait(POLL_SECONDS)
                except KeyboardInterrupt:
                    if stop.is_set():
                        raise  # asked twice: do not wait
                    stop.set()
    error = outcome.get("error")
    if isinstance(error, Interrupted):
        raise KeyboardInterrupt(resume)
    if error is not None:
        raise error
    return outcome["value"]  # also when the work was done before it saw the interruption


class Terminations:
    """While in it, SIGTERM does what Ctrl-C does."""

    def __enter__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *exception: object) -> None:
        if self._main:
            signal.signal(signal.SIGTERM, self._before)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin


def memory_now() -> int:
    """Bytes of memory that this process has."""
    return _status_bytes("VmRSS") or 0


def peak_memory() -> int:
    """The most bytes of memory that this process ever had, as the system counts them."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)
