"""moeq inspect: what is in a checkpoint, from its headers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from ... import ForeignCodes, Reader, StackInfo, TensorInfo
from ..options import AllFiles, Json, Lenient, Patterns, Source, expert_stacks, open_reader, tensors_of
from ..show.plan import foreign_text
from ..show.screen import (
    MAX_ROWS,
    Lines,
    beyond,
    counted,
    digits,
    emit,
    kind_of,
    nbytes,
    ranges,
    say,
    say_all,
    shape_text,
    short_kind,
    short_spec,
    table,
    unit_for,
)

Groups = dict[tuple, list]


def inspect(
    path: Source,
    all_tensors: Annotated[bool, typer.Option("--all", help="Every tensor on a line of its own.")] = False,
    patterns: Patterns = None,
    lenient: Lenient = False,
    all_files: AllFiles = False,
    json: Json = False,
) -> None:
    """Show what is in a checkpoint, from its headers alone.

    Layers, experts, shapes, formats and bytes, one line for what is alike in all layers.

    Example: [cyan]moeq inspect Qwen3-30B-A3B[/cyan]
    """
    with open_reader(path, lenient=lenient, all_files=all_files, patterns=patterns) as reader:
        if json:
            emit(facts(reader))
            return
        show(reader, all_tensors)


def facts(reader: Reader) -> dict[str, Any]:
    """Everything, for other programs."""
    return {
        "path": reader.path,
        "dialect": reader.dialect,
        "model_type": reader.model_type,
        "bytes": reader.nbytes,
        "parameters": parameters(reader.stacks, tensors_of(reader).get(-1, [])),
        "stacks": Lines(stack_facts(stack) for stack in reader.stacks),
        "tensors": Lines(tensor_facts(tensor) for tensor in reader.tensors),
        "metadata": reader.metadata(),
    }


def tensor_facts(tensor: TensorInfo) -> dict[str, Any]:
    return {field: getattr(tensor, field) for field in TensorInfo.__slots__}


def stack_facts(stack: StackInfo) -> dict[str, Any]:
    return {field: getattr(stack, field) for field in StackInfo.__slots__ if field != "spec"} | {
        "spec": None if stack.spec is None else str(stack.spec)
    }


def parameters(stacks: Sequence[StackInfo], others: Sequence[TensorInfo]) -> int:
    """Elements of the model: of weights in stacks as they would be dense, and of all other tensors."""
    return sum(math.prod(stack.shape) for stack in stacks) + sum(
        math.prod(tensor.shape) for tensor in others if not tensor.component
    )


def show(reader: Reader, all_tensors: bool) -> None:
    others = tensors_of(reader).get(-1, [])
    stacks = expert_stacks(reader)
    of_experts = {stack.index for stack in stacks}
    linears = [stack for stack in reader.stacks if stack.index not in of_experts]
    layers = {kind_of(stack.name)[1] for stack in stacks}
    experts = max((stack.shape[0] for stack in stacks), default=0)
    say(
        f"{reader.path}: {reader.model_type or 'a model of no stated type'}, " + state(reader),
        f"{parameters(reader.stacks, others) / 1e6:,.2f} M parameters, {nbytes(reader.nbytes)} in "
        f"{len(reader.tensors)} tensors and {counted(reader.file_count, 'file')}"
        + (f"; {len(layers)} layers with {experts} experts" if stacks else f"; {no_experts(reader)}"),
        "",
    )
    for line in doubts(reader):
        say(f"note: {line}")
    if stacks:
        say(*stack_table(stacks))
    if linears:
        say(*linear_table(linears))
    if all_tensors:
        list_tensors(reader.tensors)
    elif others:
        say(*kinds_table(others))


def no_experts(reader: Reader) -> str:
    odd = reader.metadata()["odd_experts"]
    return f"its experts are {odd}, which moeq leaves as they are" if odd else "no expert weights were recognised"


def doubts(reader: Reader) -> list[str]:
    """Where files and index do not agree, and what had to be guessed."""
    metadata = reader.metadata()
    strays, unlisted = metadata["strays"], metadata["unlisted"]
    found = []
    if strays:
        found.append(f"{counted(len(strays), 'file')} that the index does not name, such as {strays[0]}: --all-files")
    if unlisted:
        found.append(f"{counted(unlisted, 'tensor')} in files, but not in the index")
    for name in metadata["guessed_axes"][:1]:
        found.append(
            f"{counted(len(metadata['guessed_axes']), 'weight')} such as {name}: files of this model type have [in, out] "
            "and [out, in], and no shape tells which this is; taken for [in, out], as released files have it"
        )
    return found


def state(reader: Reader) -> str:
    """Whether and how it is quantized."""
    foreign = reader.metadata()["foreign"]
    told = f"quantized ({reader.dialect})" if reader.dialect else ""
    if foreign and (foreign["codes"] or not told):
        return " and ".join([told] * bool(told) + [foreign_text(ForeignCodes(**foreign))])
    return told or "not quantized"


def stored_as(stack: StackInfo) -> str:
    return short_spec(str(stack.spec)) if stack.spec else stack.dtype


def layers_of(group: Sequence[StackInfo]) -> str:
    return ranges(layer for layer in (kind_of(stack.name)[1] for stack in group) if layer >= 0)


def stack_table(stacks: Sequence[StackInfo]) -> list[Any]:
    """One line for the stacks of all layers that are alike."""
    groups: Groups = {}
    for stack in stacks:
        form = "fused" if stack.fused else "split"
        layout = f"{stack.layout}, [in, out]" if stack.scale_axis == -2 else stack.layout
        groups.setdefault((kind_of(stack.name)[0], stack.shape, layout, form, stored_as(stack)), []).append(stack)
    return bounded(
        "Expert weights: experts × rows × columns; one fused tensor, or split into one for each expert",
        [("name", "left"), ("layers", "right"), ("shape", "right"), ("layout", "left"), ("form", "left"),
         ("stored as", "left")],
        groups,
        lambda kind, shape, layout, form, stored, group: (
            short_kind(kind), layers_of(group), shape_text(shape), layout, form, stored
        ),
    )  # fmt: skip


def linear_table(stacks: Sequence[StackInfo]) -> list[Any]:
    groups: Groups = {}
    for stack in stacks:
        groups.setdefault((kind_of(stack.name)[0], stack.shape[1:], stored_as(stack)), []).append(stack)
    return bounded(
        "Other quantized weights",
        [("name", "left"), ("layers", "right"), ("shape", "right"), ("stored as", "left")],
        groups,
        lambda kind, shape, stored, group: (short_kind(kind), layers_of(group), shape_text(shape), stored),
    )


def kinds_table(tensors: Sequence[TensorInfo]) -> list[Any]:
    groups: Groups = {}
    for tensor in tensors:
        groups.setdefault((kind_of(tensor.name)[0], tensor.shape, tensor.dtype), []).append(tensor)
    return bounded(
        "Other tensors",
        [("name", "left"), ("count", "right"), ("shape", "right"), ("type", "left")],
        groups,
        lambda kind, shape, dtype, group: (short_kind(kind), len(group), shape_text(shape), dtype),
    )


def bounded(title: str, columns: list[tuple[str, str]], groups: Groups, cells: Callable[..., tuple]) -> list[Any]:
    """A table with a line and the bytes of each group, and how many groups there are beyond it."""
    sizes = [sum(one.bytes for one in group) for group in groups.values()]
    unit, size = unit_for(max(sizes))
    shown = [(*key, group) for key, group in islice(groups.items(), MAX_ROWS)]
    rows = [(*cells(*one), digits(total, size)) for one, total in zip(shown, sizes)]
    return [table(title, [*columns, (unit, "right")], rows), *beyond(sizes, f", {nbytes(sum(sizes[MAX_ROWS:]))}")]


def list_tensors(tensors: Sequence[TensorInfo]) -> None:
    unit, size = unit_for(max((tensor.bytes for tensor in tensors), default=0))
    say_all(
        "Tensors, in file order",
        [("name", "left"), ("file", "right"), ("shape", "right"), ("type", "left"), ("holds", "left"), (unit, "right")],
        lambda: (
            (t.name, t.file, shape_text(t.shape), t.dtype, t.component or "values", digits(t.bytes, size))
            for t in tensors
        ),
    )
