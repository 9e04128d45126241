"""PackedConverter: gives the model what a native checkpoint has, without reading it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from transformers.core_model_loading import WeightConverter, WeightRenaming, apply_renamings

from .._errors import ArgumentError, ShapeError
from .experts import ExpertWeight
from .native import Packed, place_of
from .streaming import Keep

PATTERN = "moeq native weight"  # of no file: names are looked up, not matched


class PackedConverter(WeightConverter):
    """One for all native weights of a checkpoint. `targets`: the parameter of each tensor of the files."""

    def __init__(self, targets: dict[str, str]) -> None:
        super().__init__([PATTERN], [PATTERN], [Keep()])
        self.targets = targets

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedConverter:
        return PackedConverter(self.targets)

    def rename_source_key(self, source_key: str) -> tuple[str, str | None]:
        target = self.targets.get(source_key)
        if target is None:
            return source_key, None
        self._was_used = True
        return target, PATTERN

    def add_tensor(self, target_key: str, source_key: str, source_pattern: str, future: Any) -> None:
        """Nothing is kept: what the host would read is mapped instead."""
        self.layer_targets.setdefault(target_key, set()).add(source_key)

    def convert(
        self, layer_name: str, model: Any = None, config: Any = None, hf_quantizer: Any = None, loading_info: Any = None
    ) -> dict[str, Any]:
        return {layer_name: hf_quantizer.from_files(layer_name, model)}


def match_parameters(
    packed: Packed, experts: dict[str, ExpertWeight], conversions: list[Any], prefix: str
) -> dict[str, str]:
    """The parameter of each native weight: by the host's own renaming, or else by layer, last name and shape."""
    renamings = [one for one in conversions if isinstance(one, WeightRenaming)]
    places: dict[str, list[str]] = defaultdict(list)
    for name, weight in experts.items():
        places[repr(place_of(name, weight.shape))].append(name)
    found = {}
    for name in packed.names():
        renamed = apply_renamings(name, renamings)
        choices = [one for one in (name, renamed, f"{prefix}.{renamed}", renamed.removeprefix(f"{prefix}."))
                   if one in experts] or places[repr(place_of(name, packed.shape(name)))]  # fmt: skip
        if not choices or (choices[0] not in (name, renamed) and len(choices) > 1):
            raise ArgumentError(
                f"moeq.transformers: got the quantized weight {name} {list(packed.shape(name))} in the checkpoint; "
                f"wanted a parameter of experts that it is: {len(choices)} of {len(experts)} fit"
            )
        shape = experts[choices[0]].shape
        if packed.shape(name) != shape:
            raise ShapeError(
                f"moeq.transformers: {name}: got codes of {list(packed.shape(name))}; wanted {list(shape)}, as the "
                "model has it: codes cannot be turned. Load the dense checkpoint with MoeqConfig(...) instead"
            )
        found[name] = choices[0]
    return found


def converter_for(targets: dict[str, str], conversions: list[Any]) -> PackedConverter:
    """targets: the parameter of each tensor. The host renames first, so names are looked up as they are then."""
    renamings = [one for one in conversions if isinstance(one, WeightRenaming)]
    renamed = {apply_renamings(key, renamings): parameter for key, parameter in targets.items()}
    return PackedConverter(targets | renamed)
