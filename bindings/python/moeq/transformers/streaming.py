"""StreamingConverter: a converter of transformers that joins, turns and quantizes one expert at a time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from transformers.core_model_loading import (
    Concatenate,
    ConversionOps,
    ErnieFuseAndSplitTextVisionExperts,
    Interleave,
    MergeModulelist,
    Transpose,
    WeightConverter,
)

from .._errors import IncompleteError, ShapeError
from .building import as_parameter, quantize_experts
from .experts import ExpertWeight


class Keep(ConversionOps):
    """For weights that the host would only rename."""

    def convert(self, input_dict: dict[str, Any], source_patterns: Any, target_patterns: Any, **kwargs: Any) -> Any:
        value = next(iter(input_dict.values()))
        return {target_patterns[0]: value[0] if isinstance(value, list) else value}

    @property
    def reverse_op(self) -> ConversionOps:
        return self


def is_streamable(operations: list[ConversionOps]) -> bool:
    """Whether the result's expert e depends on expert e of the sources only."""
    return all(map(_keeps_experts_apart, operations))


def _keeps_experts_apart(operation: ConversionOps) -> bool:
    kind = type(operation)
    if kind is MergeModulelist:
        return operation.dim == 0
    if kind in (Concatenate, Interleave):
        return operation.dim != 0
    if kind is Transpose:
        return 0 not in (operation.dim0, operation.dim1)
    if kind is ErnieFuseAndSplitTextVisionExperts:
        return is_divided([operation])
    return kind is Keep


def is_divided(operations: list[ConversionOps]) -> bool:
    """Whether linears of several kinds of experts are numbered through, and each kind becomes a parameter."""
    return [type(one) for one in operations] == [ErnieFuseAndSplitTextVisionExperts] and (
        operations[0].stack_dim,  # type: ignore[attr-defined]
        operations[0].concat_dim,  # type: ignore[attr-defined]
    ) == (0, 1)


def stacks_rows(operations: list[ConversionOps]) -> bool:
    """Whether experts are stacked, and the rows of each one's linears joined before: the commonest converters."""
    kinds = [type(operation) for operation in operations]
    if is_divided(operations):
        return True
    return kinds == [MergeModulelist] or (kinds == [MergeModulelist, Concatenate] and operations[1].dim == 1)


class StreamingConverter(WeightConverter):
    """Stands in for a converter of the host: the same patterns and operations, given one expert after another.

    It has no state but what the host collects: transformers copies converters once for every tensor of the files.
    """

    @classmethod
    def like(cls, converter: WeightConverter) -> StreamingConverter:
        sources, targets = converter._original_source_patterns, converter._original_target_patterns
        result = cls(list(sources), list(targets), converter.operations, force_cpu=converter.force_cpu)
        result.scope_prefix, result.base_model_prefix = converter.scope_prefix, converter.base_model_prefix
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> StreamingConverter:
        """As deep as the load needs: patterns and operations are shared, what is collected is not."""
        result = object.__new__(type(self))
        for name in ("source_patterns", "target_patterns", "compiled_sources", "_original_source_patterns",
                     "_original_target_patterns", "operations", "force_cpu", "scope_prefix", "base_model_prefix",
                     "_was_used", "distributed_operation", "quantization_operation"):  # fmt: skip
            object.__setattr__(result, name, getattr(self, name))
        result.collected_tensors, result.layer_targets = defaultdict(list), defaultdict(set)
        return result

    def reverse_transform(self) -> WeightConverter:
        """For dense weights that are saved: what the host's own converter would give."""
        plain = WeightConverter(
            list(self._original_source_patterns), list(self._original_target_patterns), self.operations
        )
        plain.scope_prefix, plain.base_model_prefix = self.scope_prefix, self.base_model_prefix
        return plain.reverse_transform()

    def add_tensor(self, target_key: str, source_key: str, source_pattern: str, future: Any) -> None:
        """Keeps the name of the source with what will read it."""
        self.layer_targets[target_key].add(source_key)
        self.collected_tensors[source_pattern].append(Source(source_key, future))

    def convert(
        self, layer_name: str, model: Any = None, config: Any = None, hf_quantizer: Any = None, loading_info: Any = None
    ) -> dict[str, Any]:
        names = self._targets_of(layer_name)
        if hf_quantizer is None or not any(name in hf_quantizer.plan for name in names):
            return super().convert(layer_name, model, config, hf_quantizer, loading_info)  # dense: as the host does it
        weights = [expert_weight(model, name, hf_quantizer) for name in names]
        sources = {pattern: self.collected_tensors.pop(pattern, []) for pattern in self.source_patterns}
        result, begin = {}, 0
        for weight in weights:
            end = begin + weight.shape[0]
            own = sources
            if len(names) > 1:
                own = {pattern: numbered(pattern, found, begin, end) for pattern, found in sources.items()}
            result[weight.name] = self._converted(weight, own, begin, model, hf_quantizer)
            begin = end
        return result

    def _targets_of(self, layer_name: str) -> list[str]:
        """The parameters that it makes; the host calls it by the first one."""
        first = self.target_patterns[0]
        if len(self.target_patterns) == 1 or first not in layer_name:
            return [layer_name]
        before, _, after = layer_name.partition(first)
        return [before + target + after for target in self.target_patterns]

    def _converted(
        self, weight: ExpertWeight, sources: dict[str, list[Source]], first: int, model: Any, quantizer: Any
    ) -> torch.Tensor:
        """first: the number that its expert 0 has in the files."""
        planned = quantizer.plan.get(weight.name)
        ready = quantizer.take_ready(weight.name) if planned is not None else None
        if ready is not None:
            return as_parameter(ready)
        experts = Experts(weight, sources, self, model, quantizer, first)
        if planned is None:
            return torch.stack([experts.values(e).clone() for e in range(weight.shape[0])])
        ready = quantize_experts(planned, experts.values, quantizer.device_of(weight.name), experts.source_of)
        quantizer.finished(weight.name, ready, "streamed")
        return as_parameter(ready)


def numbered(pattern: str, found: list[Source], begin: int, end: int) -> list[Source]:
    """The tensors of experts [begin, end)."""
    return [source for source in found if any(begin <= int(one) < end for one in _expert_number(pattern, source.name))]


def expert_weight(model: Any, name: str, quantizer: Any) -> ExpertWeight:
    if name in quantizer.plan:
        weight: ExpertWeight = quantizer.plan[name].weight
        return weight
    parameter = model.get_parameter(name)
    return ExpertWeight(name, tuple(parameter.shape), parameter.dtype)


class Source:
    """A tensor of the files that is read when it is called."""

    def __init__(self, name: str, read: Callable[[], torch.Tensor]) -> None:
        self.name = name
        self._read = read

    def __call__(self) -> torch.Tensor:
        return self._read()


class Experts:
    """Values of single experts of one parameter, out of its sources and the host's operations."""

    def __init__(
        self,
        weight: ExpertWeight,
        sources: dict[str, list[Source]],
        converter: StreamingConverter,
        model: Any,
        quantizer: Any,
        first: int = 0,
    ) -> None:
        self._weight = weight
        self._first = first
        self._sources = sources
        self._converter = converter
        self._model = OneExpertOf(model)
        self._quantizer = quantizer
        count = weight.shape[0]
        self._fused = count > 1 and all(len(found) == 1 for found in sources.values())
        if not self._fused:
            self._check_all_there(count)
        self._is_stacked = not self._fused and stacks_rows(converter.operations)
        self._buffer: torch.Tensor | None = None
        self._open = {source.name: quantizer.open_source(source.name) or source()
                      for found in sources.values() for source in found} if self._fused else {}  # fmt: skip

    def _check_all_there(self, count: int) -> None:
        for pattern, found in self._sources.items():
            if len(found) == count:
                continue
            have = {int(number) for source in found for number in _expert_number(pattern, source.name)}
            missing = sorted(set(range(self._first, self._first + count)) - have)
            raise IncompleteError(
                f"moeq.transformers: {self._weight.name}: got {len(found)} tensors {pattern!r} for {count} "
                f"experts; wanted one each: {'expert' if len(missing) == 1 else 'experts'} "
                f"{', '.join(map(str, missing[:8]))} missing in the checkpoint"
            )

    def values(self, expert: int) -> torch.Tensor:
        """[R, C], of the type that the parameter has. It is valid until the next call."""
        if self._is_stacked:
            return self._stacked(expert)
        return self._converted(expert)

    def _stacked(self, expert: int) -> torch.Tensor:
        """What all linears of experts need, without a copy where it is one linear."""
        pieces = [self._piece(found[expert], expert) for found in self._sources.values()]
        wanted = self._weight.shape[1:]
        shapes = [tuple(piece.shape) for piece in pieces]
        if any(len(shape) != 2 or shape[1] != wanted[1] for shape in shapes) or sum(r for r, _ in shapes) != wanted[0]:
            raise self._mismatch(expert, " and ".join(str(list(shape)) for shape in shapes))
        if len(pieces) == 1:
            return pieces[0]
        if self._buffer is None:
            self._buffer = torch.empty(wanted, dtype=pieces[0].dtype, device=pieces[0].device)
        return torch.cat(pieces, out=self._buffer)

    def _mismatch(self, expert: int, got: str) -> ShapeError:
        return ShapeError(
            f"moeq.transformers: {self._weight.name}: got {got} from {self.source_of(expert, None)}; wanted "
            f"{list(self._weight.shape[1:])} for each expert"
        )

    def _converted(self, expert: int) -> torch.Tensor:
        """Through the host's operations."""
        values: dict[str, Any] = {
            pattern: [self._piece(source, expert) for source in (found if self._fused else found[expert : expert + 1])]
            for pattern, found in self._sources.items()
        }
        for operation in self._converter.operations:
            values = operation.convert(
                values,
                source_patterns=self._converter.source_patterns,
                target_patterns=self._converter.target_patterns,
                full_layer_name=self._weight.name,
                model=self._model,
                config=getattr(self._model, "config", None),
                missing_keys=None,
            )
        (result,) = values.values()
        result = result[0] if isinstance(result, list) else result
        wanted = (1, *self._weight.shape[1:])
        if tuple(result.shape) != wanted:
            raise self._mismatch(expert, str(list(result.shape[1:])))
        return result[0]

    def _piece(self, source: Source, expert: int) -> torch.Tensor:
        piece = self._open[source.name][expert : expert + 1] if self._fused else source()
        return piece.to(device=self._quantizer.device_of(self._weight.name), dtype=self._weight.dtype)

    def source_of(self, expert: int, row: int | None) -> str:
        """The names of an expert's tensors; only the one that has the row, where gate and up are stacked."""
        names = [(found[0] if self._fused else found[expert]).name for found in self._sources.values()]
        rows = self._weight.shape[1]
        stacked = any(type(operation) is Concatenate for operation in self._converter.operations)
        if row is not None and len(names) > 1 and stacked:
            return names[min(row * len(names) // rows, len(names) - 1)]
        return " and ".join(names)


class OneExpertOf:
    """A model whose parameters seem to have one expert: operations that compare shapes see one at a time."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.config = getattr(model, "config", None)

    def get_parameter(self, name: str) -> torch.Tensor:
        shape = self._model.get_parameter(name).shape
        return torch.empty((1, *shape[1:]), device="meta")


def _expert_number(pattern: str, name: str) -> list[str]:
    """What stands for `*` in a name."""
    parts = [re.escape(part.replace("\\", "")) for part in pattern.split("*")]
    found = re.search(r"(\d+)".join(parts), name)
    return [found.group(1)] if found and len(parts) == 2 else re.findall(r"experts\.(\d+)\.", name)
