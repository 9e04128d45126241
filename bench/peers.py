"""The same work by other packages, where they are installed. A peer is a name and a function that takes a shape and
returns a call; the call is what is timed. Results are new tensors where the package has no way to give it one."""

import ctypes
import importlib
import logging
import statistics
import time
from pathlib import Path

RUNS = 9
RUN_S = 0.002  # a run repeats what is shorter than this
BUDGET_S = 4.0  # a peer that needs more for all its runs has fewer of them, but at least LEAST_RUNS
LEAST_RUNS = 7

# Which case of a shape file a peer does the work of: operation, spec, element type.
SAME_WORK = {
    "torch amax": ("amax", "-", "bf16"),
    "torch int8 quantize": ("quantize", "int8", "bf16"),
    "torch int8 dequantize": ("dequantize", "int8", "bf16"),
    "torch float8 quantize": ("quantize", "fp8_e4m3", "bf16"),
    "torch float8 dequantize": ("dequantize", "fp8_e4m3", "bf16"),
    "bitsandbytes quantize_4bit": ("quantize", "nf4", "bf16"),
    "bitsandbytes dequantize_4bit": ("dequantize", "nf4", "bf16"),
    "bitsandbytes nf4 kernel": ("dequantize", "nf4", "bf16"),
    "bitsandbytes nf4 kernel, 1 thread": ("dequantize", "nf4", "bf16"),
    "torchao int8 quantize": ("quantize", "int8", "bf16"),
    "torchao int8 dequantize": ("dequantize", "int8", "bf16"),
    "torchao float8 quantize": ("quantize", "fp8_e4m3", "bf16"),
    "torchao float8 dequantize": ("dequantize", "fp8_e4m3", "bf16"),
}


TORCHAO = ("MappingType", "choose_qparams_affine", "quantize_affine", "dequantize_affine", "_choose_scale_float8",
           "_quantize_affine_float8", "_dequantize_affine_float8")


def find():
    """The modules by name, and for those that are missing why."""
    for name in ("torch.utils._pytree", "bitsandbytes"):  # torchao's use of torch; a kernel for another operation
        logging.getLogger(name).setLevel(logging.ERROR)
    modules, missing = {}, {}
    for name in ("torch", "bitsandbytes", "torchao"):
        try:
            modules[name] = importlib.import_module(name)
        except Exception as error:  # a package may fail to load in any way; the benchmark goes on without it
            missing[name] = f"{type(error).__name__}: {error}"
    if "torchao" in modules:
        primitives = importlib.import_module("torchao.quantization.quant_primitives")
        if not all(hasattr(primitives, name) for name in TORCHAO):
            missing["torchao"] = f"{modules.pop('torchao').__version__} lacks functions that others have"
    if "torch" not in modules:
        modules.clear()
    return modules, missing


def prepare(name, shape, modules):
    torch = modules["torch"]
    weight = (torch.randn(shape[1:]) * 0.02).to(torch.bfloat16).repeat(shape[0], 1)  # experts below each other
    if name == "torch amax":
        return lambda: weight.abs().amax()
    if name.startswith("torchao"):
        return prepare_torchao(torch, weight, name)
    if name.startswith("torch"):
        return prepare_torch(torch, weight, name)
    if "kernel" in name:
        return prepare_bare_kernel(torch, modules["bitsandbytes"], weight)
    return prepare_bitsandbytes(modules["bitsandbytes"].functional, weight, shape[0], name)


def prepare_torch(torch, weight, name):
    """Scale per row, as one writes it with tensor operations."""
    _, kind, what = name.split()
    code, largest = (torch.int8, 127.0) if kind == "int8" else (torch.float8_e4m3fn, 448.0)

    def quantize():
        wide = weight.float()
        scale = wide.abs().amax(dim=-1, keepdim=True) / largest
        codes = wide / scale
        return (codes.round() if code == torch.int8 else codes).to(code), scale

    if what == "quantize":
        return quantize
    codes, scale = quantize()
    return lambda: (codes.float() * scale).to(torch.bfloat16)


def prepare_torchao(torch, weight, name):
    """Scale per row, by the functions that its quantized tensors are made of."""
    primitives = importlib.import_module("torchao.quantization.quant_primitives")
    _, kind, what = name.split()
    row = (1, weight.shape[1])
    symmetric = primitives.MappingType.SYMMETRIC

    def quantize_int8():
        scale, zero = primitives.choose_qparams_affine(weight, symmetric, row, torch.int8)
        return primitives.quantize_affine(weight, row, scale, zero, torch.int8), scale, zero

    def quantize_float8():
        scale = primitives._choose_scale_float8(weight, row)
        return primitives._quantize_affine_float8(weight, scale), scale

    quantize = quantize_int8 if kind == "int8" else quantize_float8
    if what == "quantize":
        return quantize
    codes, scale, *zero = quantize()
    if kind == "int8":
        arguments = (codes, row, scale, *zero, torch.int8)
        return lambda: primitives.dequantize_affine(*arguments, output_dtype=torch.bfloat16)
    return lambda: primitives._dequantize_affine_float8(codes, scale, output_dtype=torch.bfloat16)


def prepare_bitsandbytes(functional, weight, experts, name):
    if name.endswith("quantize_4bit") and "dequantize" not in name:
        return lambda: functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    # All experts have the same values here, so one is quantized and its codes are repeated: that is much quicker.
    codes, state = functional.quantize_4bit(weight[: weight.shape[0] // experts].contiguous(), blocksize=64,
                                            quant_type="nf4")
    codes = codes.repeat(experts, 1)
    state.absmax = state.absmax.repeat(experts)
    state.shape = weight.shape
    return lambda: functional.dequantize_4bit(codes, state)  # its CPU operation takes no destination


def prepare_bare_kernel(torch, bitsandbytes, weight):
    """bitsandbytes' own C function on memory that is warm, without what its Python does around it. Its OpenMP need not
    be the one that torch brings along."""
    ctypes.CDLL("libgomp.so.1").omp_set_num_threads(torch.get_num_threads())
    library = ctypes.CDLL(str(Path(bitsandbytes.__file__).parent / "libbitsandbytes_cpu.so"))
    codes = torch.randint(0, 256, (weight.numel() // 2,), dtype=torch.uint8)
    absmax = torch.rand(weight.numel() // 64)
    result = torch.zeros_like(weight)
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (codes, absmax, result)]
    sizes = [ctypes.c_longlong(size) for size in (64, *weight.shape)]

    def call(keep=(codes, absmax, result)):
        library.cdequantize_blockwise_cpu_nf4_bf16(*pointers, *sizes)

    return call


def small_calls(modules):
    """Calls from Python for one row of 64 NF4 columns, into memory that is there: moeq's and bitsandbytes'."""
    moeq = importlib.import_module("moeq")
    torch, functional = modules["torch"], modules["bitsandbytes"].functional
    row = torch.randn(1, 64).to(torch.bfloat16)
    weight, out = moeq.quantize(row, "nf4"), torch.empty_like(row)
    codes, state = functional.quantize_4bit(row, blocksize=64, quant_type="nf4")
    return {
        "moeq": lambda: weight.dequantize(out=out),
        "bitsandbytes": lambda: functional.dequantize_4bit(codes, state),
    }


def measure(call):
    """Nanoseconds of one call, one entry a run."""
    call()
    begin = time.perf_counter()
    call()
    once = time.perf_counter() - begin
    repeats = max(1, int(RUN_S / max(once, 1e-7)))
    runs = RUNS if once * repeats * RUNS < BUDGET_S else LEAST_RUNS
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        times.append(round((time.perf_counter() - begin) / repeats * 1e9))
    return times


def median(times):
    return statistics.median(times)
