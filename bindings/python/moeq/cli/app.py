"""The commands put together, and the outermost layer: no traceback gets past it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated, Any

import typer

import moeq

from . import ending
from .commands.bench import bench
from .commands.convert import convert
from .commands.diff import diff
from .commands.doctor import doctor
from .commands.inspect import inspect
from .commands.plan import plan
from .commands.quantize import quantize
from .commands.report import report
from .commands.verify import verify

EPILOG = "\n".join(
    ["[bold]Exit status[/bold]", *(f"{status.value:3}  {meaning}" for status, meaning in ending.MEANINGS.items())]
)

USAGE_HINT = "moeq --help, moeq COMMAND --help"

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
        try:
            library = f"libmoeq {moeq.library_version()}"
        except moeq.LibraryNotFoundError:
            library = "no libmoeq; moeq doctor says why"
        print(f"moeq {moeq.__version__} ({library})")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the versions and end.")
    ] = False,
) -> None:
    pass


def paragraphs(command: Callable[..., Any]) -> str:
    """A docstring with a line per paragraph: terminals fold them where they end."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", cleandoc(command.__doc__ or ""))


for _command in (inspect, plan, quantize, verify, diff, report, convert, bench, doctor):
    app.command(help=paragraphs(_command))(ending.ended(_command))


def run(arguments: list[str] | None = None) -> int:
    """The exit status of one command line."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        outcome: Any = app(args=given, prog_name="moeq", standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else ending.Status.OK
    except (BrokenPipeError, SystemExit):  # the second is what rich makes of the first while it prints help
        return ending.broken_pipe()
    except Exception as error:
        options = {"json": "--json" in given}
        if not hasattr(error, "format_message"):
            return ending.complain(error, options)
        message = error.format_message().rstrip(".")
        return ending.complain(ending.CommandError(message, USAGE_HINT), options) if message else ending.Status.USAGE
