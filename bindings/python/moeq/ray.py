"""Converting a checkpoint on a Ray cluster: one task for each unit of the plan. Needs `pip install "moeq[ray]"`.

Ray carries names only, no tensor: every node must see source and target under the same paths. A unit that is lost with
its node runs again on another one, and gives the same bytes.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from ._context import Context
from ._convert import Request, unit_bounds, warn_of_unused
from ._plan import Plan, PlanUnit
from ._progress import ProgressFunction

MAX_RETRIES = 8  # of a unit whose node or process dies; errors of the conversion itself are not tried again
POLL_SECONDS = 0.2  # how soon a callback that wants to stop is heard


def run_unit(source: str, target: str, unit: int, threads: int, durable: bool, what: dict[str, Any]) -> int:
    """One unit, in whatever process. threads: as many as Ray was asked for."""
    request = Request(source, target, context=Context(threads), **what)
    request.run(units=(unit, unit + 1), finish=False, durable=durable)
    return unit


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    address: str | None = None,
    spec: Any = None,
    dialect: str = "native",
    rules: Any = None,
    patterns: Any = None,
    keep_foreign: bool = False,
    weights_only: bool = False,
    all_files: bool = False,
    units: tuple[int, int] | range | None = None,
    finish: bool = True,
    progress: ProgressFunction | None = None,
    durable: bool = True,
    cpus: float = 1,
) -> None:
    """As `moeq.convert`, with the units as Ray tasks; finish happens here.

    address: of the cluster; None: the one that this process is connected to, or else $RAY_ADDRESS, or a local one.
    Each task asks Ray for `cpus` processors and for the memory that the plan says it takes at most.
    """
    what: dict[str, Any] = {"spec": spec, "dialect": dialect, "rules": rules, "patterns": patterns}
    what |= {"keep_foreign": keep_foreign, "weights_only": weights_only, "all_files": all_files}
    plan = Request(source, target, **what).plan()
    warn_of_unused(plan)
    run(plan, address=address, units=units, finish=finish, progress=progress, durable=durable, cpus=cpus)


def run(
    plan: Plan,
    *,
    address: str | None = None,
    units: tuple[int, int] | range | None = None,
    finish: bool = True,
    progress: ProgressFunction | None = None,
    durable: bool = True,
    cpus: float = 1,
) -> None:
    """As `plan.run`, with the units as Ray tasks. address, cpus: as of `convert`."""
    import ray

    request = plan._asked
    chosen = plan.units if units is None else [plan.units[unit] for unit in range(*unit_bounds(units))]
    source, target = os.path.abspath(request.source), os.path.abspath(request.target)
    own = not ray.is_initialized()
    if own:
        ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    try:
        task = ray.remote(max_retries=MAX_RETRIES, num_cpus=cpus)(run_unit)
        waiting = {
            task.options(memory=unit.peak, name=f"moeq unit {unit.unit}").remote(
                source, target, unit.unit, max(1, int(cpus)), durable, request.what
            ): unit
            for unit in chosen
        }
        _wait(ray, waiting, progress)
    finally:
        if own:
            ray.shutdown()
    if finish:
        plan.run(units=(0, 0), finish=True, durable=durable)


def _wait(ray: Any, waiting: dict[Any, PlanUnit], progress: ProgressFunction | None) -> None:
    """Until all are done. The first error, and an exception of the callback, cancels the others."""
    done, total = 0, sum(unit.bytes_in for unit in waiting.values())
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_SECONDS)
            name = ""
            for reference in ready:
                unit = waiting.pop(reference)
                ray.get(reference)
                done, name = done + unit.bytes_in, unit.file
            if progress is not None:
                progress("quantize", name, done, total)
    except ray.exceptions.RayTaskError as error:
        _cancel(ray, waiting)
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except BaseException:
        _cancel(ray, waiting)
        raise


def _cancel(ray: Any, waiting: dict[Any, PlanUnit]) -> None:
    for reference in waiting:
        ray.cancel(reference)
