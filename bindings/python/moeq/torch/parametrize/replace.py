"""A parameter of a module becomes codes that are decoded whenever it is read, and dense again."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils import parametrize

from ..._errors import ArgumentTypeError, DtypeError, NotFoundError, ShapeError, StateError
from ..._qtensor import QTensor
from ..tensor import MoeqTensor
from .attached import DecodedList, attach, detach, listed
from .forms import Bnb4bitParametrization, encode_4bit, encode_8bit, logical
from .quant_state import QuantState

DEFAULT_BLOCK = 64


class ParameterNotFoundError(NotFoundError, AttributeError):
    """A module has no parameter of that name."""


def replace_parameter_8bit(module: torch.nn.Module, param_name: str) -> None:
    """Quantizes a parameter [..., rows, columns] to int8 with a scale for each row of its last axis.

    Reading it gives values in its old type. Its codes are `module.parametrizations[param_name].original`, in a state
    dict `parametrizations.NAME.original` and `parametrizations.NAME.0.row_stats`. If quantizing fails nothing changes.
    """
    value = dense_value("replace_parameter_8bit", module, param_name)
    attach(module, param_name, *encode_8bit(value, value.dtype))


def replace_parameter_4bit(
    module: torch.nn.Module,
    param_name: str,
    compress_statistics: bool = False,
    quant_type: str = "nf4",
    blocksize: int | None = None,
) -> None:
    """Quantizes a parameter to NF4 or FP4, in blocks of `blocksize` (64) elements over the whole weight.

    compress_statistics: scales in 8 bits. Arguments, state dict (`NAME`, `NAME.absmax`, `NAME.quant_state...`) and
    layout are those of bitsandbytes.nn.parametrize. If quantizing fails nothing changes.
    """
    if not isinstance(compress_statistics, bool):
        raise ArgumentTypeError(
            f"moeq.torch.parametrize.replace_parameter_4bit: compress_statistics: got {compress_statistics!r}; wanted "
            "True or False"
        )
    value = dense_value("replace_parameter_4bit", module, param_name)
    block = DEFAULT_BLOCK if blocksize is None else blocksize
    attach(module, param_name, *encode_4bit(value, quant_type, block, compress_statistics, value.dtype))


def replace_parameter_4bit_prequantized(
    module: torch.nn.Module, param_name: str, qs_dict: dict[str, Any], device: Any
) -> None:
    """Takes a parameter that holds codes of bitsandbytes already; qs_dict: what its files have beside them."""
    codes = parameter_of("replace_parameter_4bit_prequantized", module, param_name)
    form = Bnb4bitParametrization(QuantState.from_dict(qs_dict, device))
    codes = codes.detach().to(device)
    form(codes.to("meta"))  # refuses codes that do not fit
    attach(module, param_name, form, codes)


def dense_parameter(module: torch.nn.Module, param_name: str, *, requires_grad: bool = False) -> torch.nn.Parameter:
    """Undoes a replacement: an ordinary parameter with the decoded values, in the module and returned."""
    found = replaced("dense_parameter", module, param_name)
    return put_back(module, param_name, torch.nn.Parameter(found[0](found.original), requires_grad=requires_grad))


def moeq_parameter(module: torch.nn.Module, param_name: str) -> torch.nn.Parameter:
    """Makes a parameter [experts, rows, columns] that was replaced a MoeqTensor with the same codes and values, into which
    PEFT can merge. Refused where 4-bit blocks cross from one expert into the next."""
    found = replaced("moeq_parameter", module, param_name)
    form, codes = found[0], found.original.detach()
    shape = form(codes.to("meta")).shape
    if len(shape) != 3:
        raise ShapeError(
            f"moeq.torch.parametrize.moeq_parameter: {param_name}: got shape {list(shape)}; wanted [experts, rows, columns]"
        )
    spec, parts = form.stacked(shape, codes)
    value = MoeqTensor.from_qtensor(QTensor.adopt(spec, shape, parts), dtype=form.dtype)
    return put_back(module, param_name, torch.nn.Parameter(value, requires_grad=False))


def replaced(function: str, module: torch.nn.Module, name: str) -> DecodedList:
    called = f"moeq.torch.parametrize.{function}"
    if not parametrize.is_parametrized(module, name):
        raise ParameterNotFoundError(
            f"{called}: param_name: got {name!r}, which is not parametrized in {type(module).__name__}; wanted a "
            "parameter that was replaced"
        )
    found = listed(module, name)
    if not isinstance(found, DecodedList) or len(found) > 1:
        raise StateError(
            f"{called}: {name}: got parametrizations by {[type(one).__name__ for one in found]}; wanted only one, of moeq"
        )
    return found


def put_back(module: torch.nn.Module, name: str, value: torch.nn.Parameter) -> torch.nn.Parameter:
    detach(module, name)
    module.register_parameter(name, value)
    return value


def parameter_of(function: str, module: torch.nn.Module, name: str) -> torch.nn.Parameter:
    called = f"moeq.torch.parametrize.{function}"
    if not isinstance(module, torch.nn.Module):
        raise ArgumentTypeError(f"{called}: module: got {type(module).__name__}; wanted a torch.nn.Module")
    if parametrize.is_parametrized(module, name):
        raise StateError(f"{called}: {name}: got a parameter that is parametrized already; wanted a plain one")
    if not hasattr(module, name):
        raise ParameterNotFoundError(
            f"{called}: param_name: got {name!r}, which {type(module).__name__} does not have; wanted one of "
            f"{[one for one, _ in module.named_parameters(recurse=False)]}"
        )
    value = module._parameters.get(name)
    if value is None:
        got = type(getattr(module, name)).__name__
        raise ArgumentTypeError(f"{called}: {name}: got {got}; wanted a parameter of the module itself")
    return value


def dense_value(function: str, module: torch.nn.Module, name: str) -> torch.nn.Parameter:
    value, called = parameter_of(function, module, name), f"moeq.torch.parametrize.{function}"
    if isinstance(value, MoeqTensor):
        raise StateError(f"{called}: {name}: got a MoeqTensor, which is quantized; wanted dense values")
    if not value.is_floating_point():
        raise DtypeError(f"{called}: {name}: got {value.dtype}; wanted floating point values")
    logical(value.dtype)
    if value.ndim < 2 or not value.numel():
        raise ShapeError(
            f"{called}: {name}: got shape {list(value.shape)}; wanted two axes or more, none of them empty"
        )
    return value
