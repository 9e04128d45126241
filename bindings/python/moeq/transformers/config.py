"""MoeqConfig: what `from_pretrained(quantization_config=...)` is given, and what config.json keeps."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import FbgemmFp8Config
from transformers.quantizers.auto import register_quantization_config

import moeq

from .._errors import ArgumentError, ArgumentTypeError, VersionError
from .._spec import Spec
from .globs import matches
from .linears import linears_config

FILE_VERSION = "1"  # of native files; their header and config.json say it
SAVED = ("quant_method", "version", "moeq_version", "format", "formats", "skip", "modules_to_not_convert", "linears")
DENSE = "dense"  # in formats: stays as it is


# transformers hands what the caller asked for to a checkpoint's own configuration (get_loading_attributes) for a fixed
# list of classes only. This is the one of them that it treats in no other way; nothing else of it is used.
@register_quantization_config("moeq")
class MoeqConfig(FbgemmFp8Config):
    """How the experts of a model are quantized.

        MoeqConfig("nf4")
        MoeqConfig("fp8_e4m3", formats={"**.down_proj": "int8", "model.layers.0.**": "dense"}, cache="~/.cache/experts")

    format: of all experts, a spec's text such as "nf4:64,nested". None: as the checkpoint has them, for one that moeq
    made. formats: exceptions by glob over the names of parameters; the first that matches counts, "dense" leaves them.
    skip: globs of what stays dense. cache: a folder for the quantized experts; the next load maps them from there.
    linears: a BitsAndBytesConfig for the model's linears, which are no weights of experts. allow_nothing: whether a load
    that quantizes no experts is no error.
    """

    def __init__(
        self,
        format: str | Spec | None = None,
        *,
        formats: Mapping[str, str | Spec] | None = None,
        skip: Iterable[str] = (),
        cache: Any = None,
        linears: Any = None,
        allow_nothing: bool = False,
        modules_to_not_convert: Iterable[str] | None = None,
    ) -> None:
        _check_kinds(formats, {"skip": skip, "modules_to_not_convert": modules_to_not_convert})
        self.quant_method: Any = "moeq"
        self.version = FILE_VERSION
        self.moeq_version = moeq.__version__
        self.format = None if format is None else _text(format)
        self.formats = {glob: _text(value) for glob, value in dict(formats or {}).items()}
        self.skip = [str(glob) for glob in skip]
        self.cache = None if cache is None else str(cache)
        self.linears = copy.deepcopy(linears_config(linears))  # a load adds to what it skips
        self.allow_nothing = bool(allow_nothing)
        self.modules_to_not_convert = list(modules_to_not_convert or [])
        self.requested: dict[str, Any] | None = None  # of the caller, where the checkpoint has a configuration too
        if format is None and self.formats:
            raise ArgumentError("moeq.transformers.MoeqConfig: formats: got exceptions from no format; wanted format=")

    # ---- what it says

    def spec_text(self, name: str) -> str | None:
        """The format of a parameter; None where it stays dense."""
        if any(matches(glob, name) for glob in self.skip):
            return None
        for glob, text in self.formats.items():
            if matches(glob, name):
                return None if text == DENSE else text
        return self.format

    def globs(self) -> list[str]:
        return [*self.skip, *self.formats]

    # ---- as transformers keeps it

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        given = dict(config_dict)
        unknown = sorted(given.keys() - set(SAVED))
        if unknown:
            raise ArgumentError(
                f"moeq.transformers.MoeqConfig: quantization_config: got the key {unknown[0]!r}; wanted "
                f"{', '.join(SAVED)}: it may be of a newer moeq than {moeq.__version__}"
            )
        version, writer = given.pop("version", FILE_VERSION), given.pop("moeq_version", None)
        if version != FILE_VERSION:
            raise VersionError(
                f"moeq.transformers.MoeqConfig: quantization_config: got version {version!r}, of moeq "
                f"{writer or '(unknown)'}; wanted {FILE_VERSION!r}, which moeq {moeq.__version__} reads"
            )
        method = given.pop("quant_method", "moeq")
        if method != "moeq":
            raise ArgumentError(f"moeq.transformers.MoeqConfig: quant_method: got {method!r}; wanted 'moeq'")
        config = cls(**given)
        unused = config.update(**kwargs)
        return (config, unused) if return_unused_kwargs else config

    def to_dict(self) -> dict[str, Any]:
        saved = {key: copy.deepcopy(getattr(self, key)) for key in SAVED if key != "linears"}
        return saved if self.linears is None else saved | {"linears": self.linears.to_dict()}

    def get_loading_attributes(self) -> dict[str, Any]:
        asked = {"format": self.format, "formats": self.formats, "skip": self.skip, "linears": self.linears}
        return {"requested": asked, "allow_nothing": self.allow_nothing, "cache": self.cache}

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, MoeqConfig) else NotImplemented

    def __repr__(self) -> str:
        shown = {"formats": self.formats, "skip": self.skip, "cache": self.cache, "linears": self.linears}
        said = [f"{key}={value!r}" for key, value in shown.items() if value]
        return f"MoeqConfig({', '.join([repr(self.format), *said])})"

    __hash__ = None  # type: ignore[assignment]  # it can change


def _check_kinds(formats: Any, lists: dict[str, Any]) -> None:
    """config.json may have been written by anybody."""
    if formats is not None and not isinstance(formats, Mapping):
        raise ArgumentTypeError(
            f"moeq.transformers.MoeqConfig: formats: got {type(formats).__name__}; wanted formats by glob"
        )
    for name, given in lists.items():
        if isinstance(given, str) or not (given is None or isinstance(given, Iterable)):
            raise ArgumentTypeError(f"moeq.transformers.MoeqConfig: {name}: got {given!r}; wanted a list of globs")


def _text(format: str | Spec) -> str:
    """A format's text, which the library has understood."""
    return DENSE if format == DENSE else str(Spec(format))
