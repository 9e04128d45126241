"""The commands put together, and the outermost layer: no traceback gets past it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

import moeq

from . import _exit
from .bench import bench
from .convert import convert
from .diff import diff
from .doctor import doctor
from .inspect import inspect
from .plan import plan
from .quantize import quantize
from .report import report
from .verify import verify

# An empty line between two lines is what typer takes for the end of one.
EPILOG = "\n\n".join(
    ["[bold]Exit status[/bold]", *(f"{status.value:3}  {meaning}" for status, meaning in _exit.MEANINGS.items())]
)

app = typer.Typer(
    name="moeq",
    help="Quantized Mixture-of-Experts checkpoints: look at them, make them, check them.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"moeq {moeq.__version__} (libmoeq {moeq.library_version()})")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the versions and end.")
    ] = False,
) -> None:
    pass


for _command in (inspect, plan, quantize, verify, diff, report, convert, bench, doctor):
    app.command()(_exit.ended(_command))


def run(arguments: list[str] | None = None) -> int:
    """The exit status of one command line."""
    try:
        outcome: Any = app(args=arguments, prog_name="moeq", standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else _exit.Status.OK
    except BrokenPipeError:
        return _exit.broken_pipe()
    except Exception as error:
        if not hasattr(error, "format_message"):
            return _exit.complain(error)
        usage = _exit.CommandError(error.format_message(), "moeq --help, moeq COMMAND --help")
        usage.status = _exit.Status.USAGE
        return _exit.complain(usage) if str(usage) else _exit.Status.USAGE
