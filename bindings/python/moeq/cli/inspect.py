"""moeq inspect: what is in a checkpoint, from its headers alone."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from .._reader import Reader, StackInfo, TensorInfo
from ._options import AllFiles, Json, Lenient, Patterns, Source, open_reader, tensors_of
from ._plan import foreign_text
from ._screen import (
    counted,
    digits,
    emit,
    kind_of,
    nbytes,
    ranges,
    say,
    shape_text,
    short_kind,
    short_spec,
    table,
    unit_for,
)


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
        "parameters": parameters(reader),
        "stacks": [stack_facts(stack) for stack in reader.stacks],
        "tensors": [{field: getattr(tensor, field) for field in TensorInfo.__slots__} for tensor in reader.tensors],
        "metadata": reader.metadata(),
    }


def stack_facts(stack: StackInfo) -> dict[str, Any]:
    return {field: getattr(stack, field) for field in StackInfo.__slots__ if field != "spec"} | {
        "spec": None if stack.spec is None else str(stack.spec)
    }


def parameters(reader: Reader) -> int:
    """Elements of the model: of expert weights as they would be dense, and of all other tensors."""
    others = tensors_of(reader).get(-1, [])
    return sum(math.prod(stack.shape) for stack in reader.stacks) + sum(
        math.prod(tensor.shape) for tensor in others if not tensor.component
    )


def show(reader: Reader, all_tensors: bool) -> None:
    stacks, others = reader.stacks, tensors_of(reader).get(-1, [])
    layers = {kind_of(stack.name)[1] for stack in stacks}
    experts = max((stack.shape[0] for stack in stacks), default=0)
    say(
        f"{reader.path}: {reader.model_type or 'a model of no stated type'}, "
        + state(reader),
        f"{parameters(reader) / 1e6:,.2f} M parameters, {nbytes(reader.nbytes)} in {len(reader.tensors)} tensors and "
        f"{counted(reader.file_count, 'file')}"
        + (f"; {len(layers)} layers with {experts} experts" if stacks else "; no expert weights were recognised"),
        "",
    )
    if stacks:
        say(stack_table(stacks))
    if all_tensors:
        say(tensor_table(reader.tensors))
    elif others:
        say(kinds_table(others))


def state(reader: Reader) -> str:
    """Whether and how it is quantized."""
    foreign = reader.metadata()["foreign"]
    told = f"quantized ({reader.dialect})" if reader.dialect else ""
    if foreign and (foreign["codes"] or not told):
        return " and ".join([told] * bool(told) + [foreign_text(foreign)])
    return told or "not quantized"


def stack_table(stacks: tuple[StackInfo, ...]) -> Any:
    """One line for the stacks of all layers that are alike."""
    groups: dict[tuple, list[StackInfo]] = {}
    for stack in stacks:
        stored = short_spec(str(stack.spec)) if stack.spec else stack.dtype
        form = "fused" if stack.fused else "split"
        layout = f"{stack.layout}, [in, out]" if stack.scale_axis == -2 else stack.layout
        groups.setdefault((kind_of(stack.name)[0], stack.shape, layout, form, stored), []).append(stack)
    unit, size = unit_for(max(sum(stack.bytes for stack in group) for group in groups.values()))
    rows = []
    for (kind, shape, layout, form, stored), group in groups.items():
        numbers = ranges(kind_of(stack.name)[1] for stack in group if kind_of(stack.name)[1] >= 0)
        total = digits(sum(stack.bytes for stack in group), size)
        rows.append((short_kind(kind), numbers, shape_text(shape), layout, form, stored, total))
    return table(
        "Expert weights: experts × rows × columns; one fused tensor, or split into one for each expert",
        [("name", "left"), ("layers", "right"), ("shape", "right"), ("layout", "left"), ("form", "left"),
         ("stored as", "left"), (unit, "right")],
        rows,
    )  # fmt: skip


def kinds_table(tensors: list[TensorInfo]) -> Any:
    groups: dict[tuple, list[TensorInfo]] = {}
    for tensor in tensors:
        groups.setdefault((kind_of(tensor.name)[0], tensor.shape, tensor.dtype), []).append(tensor)
    unit, size = unit_for(max(sum(tensor.bytes for tensor in group) for group in groups.values()))
    return table(
        "Other tensors",
        [("name", "left"), ("count", "right"), ("shape", "right"), ("type", "left"), (unit, "right")],
        [
            (
                short_kind(kind),
                len(group),
                shape_text(shape),
                dtype,
                digits(sum(tensor.bytes for tensor in group), size),
            )
            for (kind, shape, dtype), group in groups.items()
        ],
    )


def tensor_table(tensors: tuple[TensorInfo, ...]) -> Any:
    unit, size = unit_for(max((tensor.bytes for tensor in tensors), default=0))
    return table(
        "Tensors, in file order",
        [("name", "left"), ("file", "right"), ("shape", "right"), ("type", "left"), ("holds", "left"), (unit, "right")],
        [
            (t.name, t.file, shape_text(t.shape), t.dtype, t.component or "values", digits(t.bytes, size))
            for t in tensors
        ],
    )
