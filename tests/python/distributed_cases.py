"""What the ranks of test_torch_distributed.py do: each function is one case, called on every rank at the same time."""

import copy
import gc
import hashlib
import os
import pickle
import signal
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import peft
import torch
import transformers
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState
from safetensors.torch import save_file
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch_weights import SPECS, parameter, random_weight, relative, same_bytes

import moeq
import moeq.distributed
from moeq.distributed import copies
from moeq.torch import MoeqTensor, collectives, densify
from moeq.torch.store import Store
from moeq.transformers import MoeqConfig
from moeq.transformers.native import saved_tensors

ROWS, COLUMNS, TOKENS = 24, 64, 20
densify("error")
collectives.CHUNK = 4000  # bytes: the experts of a weight go in several pieces


class Layer(torch.nn.Module):
    """A quantized weight of experts, a low-rank adapter on it, and a dense linear."""

    def __init__(self, experts, spec, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.nn.Parameter(torch.randn(shape, generator=generator))

        self.weight = parameter(MoeqTensor.quantize(random_weight((experts, ROWS, COLUMNS), seed=seed), spec))
        self.lhs, self.rhs = draw(experts, ROWS, 2), draw(experts, 2, COLUMNS)
        self.out = draw(COLUMNS, ROWS)
        self.register_buffer("shift", torch.randn(COLUMNS, generator=generator))

    def forward(self, x):
        experts = self.weight.shape[0]
        ends = [min(len(x), 3 * (expert + 1)) for expert in range(experts - 1)] + [len(x)]
        weight = torch.baddbmm(self.weight, self.lhs, self.rhs)
        hidden = torch._grouped_mm(x.to(weight.dtype), weight.mT, offs=torch.tensor(ends, dtype=torch.int32))
        return hidden @ self.out.T * 0.01 + self.shift


class Model(torch.nn.Module):
    def __init__(self, experts=6, specs=("int8", "nf4"), seed=1, tied=False):
        super().__init__()
        self.layers = torch.nn.ModuleList(Layer(experts, spec, seed + place) for place, spec in enumerate(specs))
        if tied:
            self.tied = self.layers[0]

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def tokens(turn=0):
    return torch.randn(TOKENS, COLUMNS, generator=torch.Generator().manual_seed(90 + turn))


def loss_of(model, x):
    return (model(x).float() ** 2).sum()


def same_tensor(a, b):
    if isinstance(a, MoeqTensor):
        return type(b) is type(a) and a.spec == b.spec and same_bytes(a, b)
    return a.dtype == b.dtype and torch.equal(a, b)


def same_models(a, b):
    theirs = b.state_dict()
    return a.state_dict().keys() == theirs.keys() and all(
        same_tensor(value, theirs[name]) for name, value in a.state_dict().items()
    )


def digest(model):
    """Of all bytes that a model has."""
    return digest_of(model.state_dict())


def digest_of(state):
    result = hashlib.sha256()
    for value in state.values():
        parts = value.components().values() if isinstance(value, MoeqTensor) else [value]
        for part in parts:
            result.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return result.hexdigest()


def same_everywhere(value):
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return len(set(values)) == 1


def dense_twin(model):
    """The model that has the values that a quantized one decodes to, and computes with torch alone."""
    twin = copy.deepcopy(model)
    for layer in twin.layers:
        layer.weight = parameter(layer.weight.dequantize())
    return twin


@contextmanager
def no_values():
    """Nothing is decoded or quantized meanwhile."""

    def refuse(*args, **kwargs):
        raise AssertionError("a weight was decoded or quantized")

    kept = Store.decode, Store.encode
    Store.decode = Store.encode = refuse
    try:
        yield
    finally:
        Store.decode, Store.encode = kept


def shard(model, **options):
    for layer in model.layers:
        fully_shard(layer, **options)
    return fully_shard(model, **options)


def raised(kind, function, *args, **kwargs):
    """The text of what it raises."""
    try:
        function(*args, **kwargs)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


# ---- DistributedDataParallel


def ddp(rank, ranks, folder):
    """Every rank gets rank 0's codes, of every format; gradients are the mean of the ranks'."""
    whole, model = Model(specs=SPECS, seed=1), Model(specs=SPECS, seed=1 + 100 * rank)
    for seed, each in ((0, whole), (rank, model)):
        each.alone = parameter(
            MoeqTensor.quantize(random_weight(dtype=torch.bfloat16, seed=seed), "int8")
        )  # in a bucket
        each.mapped = parameter(MoeqTensor.from_qtensor(moeq.quantize(random_weight(seed=seed), "int8")))
        each.same = parameter(MoeqTensor.from_qtensor(moeq.quantize(random_weight(), "int8")))
    versions = [layer.weight._store.stamp()[0] for layer in model.layers]
    with no_values():
        wrapped = DistributedDataParallel(model)
    assert same_models(model, whole)
    assert [layer.weight._store.stamp()[0] > before for layer, before in zip(model.layers, versions)] == (
        [rank > 0] * len(SPECS)
    )  # who has the codes is not written
    assert not model.same._store.owned and model.mapped._store.owned == (rank > 0)  # nor copied out of a file
    before = digest(model)
    loss_of(wrapped, tokens(rank)).backward()
    dense = dense_twin(whole)
    for other in range(ranks):
        (loss_of(dense, tokens(other)) / ranks).backward()
    for (name, ours), theirs in zip(model.named_parameters(), dense.parameters()):
        if theirs.requires_grad:
            assert relative(ours.grad, theirs.grad) < 1e-5, name
    assert digest(model) == before and same_everywhere(before)


def ddp_other_formats(rank, ranks, folder):
    """Ranks with other formats end with an error instead of taking codes for others, and so do all others."""
    model = Model(specs=["int8", "fp4" if rank == ranks - 1 else "nf4"])
    before = digest(model)
    text = raised(moeq.MismatchError, DistributedDataParallel, model)
    if rank == ranks - 1:
        assert "this rank has" in text and "fp4 [6, 24, 64]" in text, text
    else:
        assert "got 1 ranks with weights of other formats" in text and "nf4 [6, 24, 64]" in text, text
    assert digest(model) == before
    distributed.barrier()  # they can go on together


# ---- one rank gives


def broadcast(rank, ranks, folder):
    """To ranks with other weights, and to ranks whose model is on meta; the middle rank gives."""
    src = ranks // 2
    whole = Model(specs=SPECS, seed=7, tied=True)
    for meta in (False, True):
        model = Model(specs=SPECS, seed=7 if rank == src else 50 + rank, tied=True)
        if meta and rank != src:
            model.to("meta")
        with no_values():
            moeq.distributed.broadcast(model, src)
        assert same_models(model, whole) and same_everywhere(digest(model))
        assert model.tied.weight is model.layers[0].weight and model.tied.out is model.layers[0].out
        assert [one.requires_grad for one in model.parameters()] == [one.requires_grad for one in whole.parameters()]
        assert relative(loss_of(model, tokens()), loss_of(whole, tokens())) == 0
    # one that the others build dense, of transformers; moving it to meta has taken its tied weights apart
    whole, model = moe(tie_word_embeddings=True), moe(tie_word_embeddings=True)
    if rank != src:
        model = transformers.Qwen3MoeForCausalLM(whole.config).to("meta")
        assert model.lm_head.weight is not model.model.embed_tokens.weight
    moeq.distributed.broadcast(model, src)
    assert same_models(model, whole) and model.lm_head.weight is model.model.embed_tokens.weight
    whole.lm_head.weight = torch.nn.Parameter(whole.lm_head.weight.detach().clone())
    text = raised(moeq.MismatchError, moeq.distributed.broadcast, model if rank == src else whole, src)
    assert "lm_head.weight is model.embed_tokens.weight" in text, text
    ids = torch.arange(12)[None]
    assert torch.equal(model(input_ids=ids).logits, whole(input_ids=ids).logits)
    text = raised(moeq.MoeqError, moeq.distributed.broadcast, Model().to("meta"))
    assert "layers.0.weight on meta on rank 0" in text


def structure(rank, ranks, folder):
    """Differences are named on every rank, before anything moves."""
    model = Model(specs=["int8", "nf4" if rank == 0 else "fp4"])
    before = digest(model)
    for function in (moeq.distributed.check, moeq.distributed.broadcast, moeq.distributed.load_state_dict):
        text = raised(moeq.MismatchError, function, model)
        assert "rank 1 got 'layers.1.weight: quantized fp4 [6, 24, 64] float32'" in text, text
        assert "wanted 'layers.1.weight: quantized nf4 [6, 24, 64] float32'" in text, text
    text = raised(moeq.MismatchError, moeq.distributed.check, Model(specs=["int8"] * (2 - rank)))
    assert "rank 1 got" in text, text
    for collective, options in ((distributed.all_reduce, {}), (distributed.broadcast, {"src": 0})):
        text = raised(moeq.UnsupportedError, collective, model.layers[0].weight, **options)
        assert "got a quantized weight" in text  # it would lose what it writes
    assert digest(model) == before
    moeq.distributed.check(Model(seed=rank))


# ---- FSDP2


def sharded(rank, ranks, folder):
    """Shards on meta that get rank 0's codes train as the whole model does."""
    for experts, spec, dtype in ((6, "int8", None), (5, "nf4:64,nested", None), (3, "fp8_e4m3", torch.bfloat16)):
        whole, model = Model(experts, [spec] * 2), Model(experts, [spec] * 2)
        state = whole.state_dict() if rank == 0 else None
        if dtype is None:  # it does not disturb
            moeq.distributed.prepare(model)
        model.to("meta")
        shard(model, mp_policy=MixedPrecisionPolicy(param_dtype=dtype))
        with no_values():
            moeq.distributed.load_state_dict(model, state)
        share = -(-experts // ranks)
        begin, end = min(experts, rank * share), min(experts, (rank + 1) * share)
        for layer, other in zip(model.layers, whole.layers):
            local = layer.weight.to_local()
            assert type(local) is MoeqTensor and same_bytes(local, other.weight[begin:end])
            assert {len(part) for part in local.components().values()} == {end - begin}
            assert not layer.weight.requires_grad
        bound = 1e-5 if dtype is None else 0.05
        dense = dense_twin(whole)
        for turn in range(2):
            for each in (dense, model):
                each.zero_grad()
            losses = [loss_of(each, tokens(turn)) for each in (dense, model)]
            assert relative(losses[1], losses[0]) < bound
            for loss in losses:
                loss.backward()
            for (name, ours), theirs in zip(model.named_parameters(), dense.parameters()):
                if theirs.requires_grad:
                    assert relative(ours.grad.full_tensor(), theirs.grad) < bound, name
        for layer, other in zip(model.layers, whole.layers):
            assert same_tensor(layer.weight.full_tensor(), other.weight)


def state_dicts(rank, ranks, folder):
    """Sharded and full state dicts are codes. Saved in shards, they load into shards and into whole weights."""
    specs = ["nf4", "fp8_e4m3"]
    whole, model = Model(5, specs), shard(Model(5, specs))
    full = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    assert bool(full) == (rank == 0)
    assert all(same_tensor(value, whole.state_dict()[name]) for name, value in full.items())
    assert {type(layer.weight.to_local()) for layer in model.layers} == {MoeqTensor}
    checkpoint.save({"model": get_model_state_dict(model)}, checkpoint_id=folder / f"saved-{ranks}")
    cut = shard(Model(5, specs, seed=33))
    by_two = folder / "saved-2"  # which the group "two" has left
    for other, saved in ((cut, folder / f"saved-{ranks}"), (Model(5, specs, seed=34), by_two), (cut, by_two)):
        state = {"model": get_model_state_dict(other)}
        checkpoint.load(state, checkpoint_id=saved)
        set_model_state_dict(other, state["model"])
        full = get_model_state_dict(other, options=StateDictOptions(full_state_dict=True))
        assert full.keys() == whole.state_dict().keys()
        assert all(same_tensor(value, whole.state_dict()[name]) for name, value in full.items())
    # from whole ones, where every rank has one: what torch distributes itself
    other = shard(Model(5, specs, seed=35))
    set_model_state_dict(other, whole.state_dict(), options=StateDictOptions(full_state_dict=True))
    assert all(same_tensor(a.weight.full_tensor(), b.weight) for a, b in zip(other.layers, whole.layers))
    assert all(torch.equal(a.out.full_tensor(), b.out) for a, b in zip(other.layers, whole.layers))
    # into memory that is there; states that do not fit are refused on every rank, and change nothing
    load = moeq.distributed.load_state_dict
    state = Model(5, specs, seed=36).state_dict()
    load(other, state if rank == 0 else None)
    assert same_tensor(other.layers[1].weight.full_tensor(), state["layers.1.weight"])
    before = digest_of_shards(other)
    for change, words in (
        (lambda: state.pop("layers.0.weight"), "got no 'layers.0.weight'"),
        (
            lambda: state.update({"layers.0.weight": torch.zeros(5, ROWS, COLUMNS)}),
            "got dense values; wanted codes nf4",
        ),
        (lambda: state.update({"layers.0.weight": Model(6, specs).layers[0].weight}), "MoeqTensor [6, 24, 64]; wanted"),
    ):
        change()
        text = raised(moeq.MoeqError, load, other, state if rank == 0 else None)
        assert words in text, text
    assert digest_of_shards(other) == before


def mesh(rank, ranks, folder):
    """Shards over one axis of a mesh, copies over the other."""
    whole, model = Model(5, ["nf4"] * 2), Model(5, ["nf4"] * 2, seed=40)
    model.to("meta")
    shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "shards")))
    moeq.distributed.load_state_dict(model, whole.state_dict() if rank == 0 else None)
    for layer, wanted in zip(model.layers, whole.layers):
        begin, end = ((0, 3), (3, 5))[rank % 2]
        assert same_tensor(layer.weight.to_local(), wanted.weight[begin:end])
        assert same_tensor(layer.weight.full_tensor(), wanted.weight)
    assert relative(loss_of(model, tokens()), loss_of(whole, tokens())) < 1e-6


def digest_of_shards(model):
    return digest_of({name: getattr(value, "_local_tensor", value) for name, value in model.state_dict().items()})


def torchs_own_broadcast(rank, ranks, folder):
    """torch gives the other ranks dense memory: the first one refuses to send codes into it, and all end."""
    model = shard(Model())
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    try:
        set_model_state_dict(model, Model(seed=3).state_dict() if rank == 0 else {}, options=options)
    except moeq.UnsupportedError as error:
        assert rank == 0 and "broadcast_from_rank0" in str(error) and "load_state_dict" in str(error)
    except RuntimeError as error:
        assert rank == 1 and "peer" in str(error)
    else:
        raise AssertionError("no error")


def files(rank, ranks, folder):
    """Every rank maps one native file, and holds its own experts of it."""
    from moeq.transformers.native import saved_tensors

    specs = ["int8", "nf4:64,nested"]  # the second as a weight for each expert
    whole = Model(5, specs, seed=3)
    if rank == 0:
        tensors, metadata = {}, {}
        for name, value in whole.named_parameters():
            if isinstance(value, MoeqTensor):
                for kept, more in zip((tensors, metadata), saved_tensors(name, value)):
                    kept.update(more)
        save_file(
            {name: value.contiguous() for name, value in tensors.items()}, folder / "native.safetensors", metadata
        )
    distributed.barrier()
    for meta in (True, False):
        model = Model(5, specs, seed=4)
        if meta:
            model.to("meta")
        shard(model)
        names = moeq.distributed.load_shares(model, folder / "native.safetensors")
        assert names == ["layers.0.weight", "layers.1.weight"]
        for layer, wanted in zip(model.layers, whole.layers):
            assert same_tensor(layer.weight.full_tensor(), wanted.weight)
            assert len(layer.weight.to_local()) == (3, 2)[rank]
    replicated = Model(5, specs, seed=4)
    moeq.distributed.load_shares(replicated, folder / "native.safetensors")
    assert same_tensor(replicated.layers[1].weight, whole.layers[1].weight)
    before = digest(replicated)
    path = folder / ("native.safetensors" if rank == 0 else "none.safetensors")
    text = raised(moeq.MoeqError, moeq.distributed.load_shares, replicated, path)
    assert "none.safetensors" in text and ("rank 1 failed" in text) == (rank == 0), text
    for other, words in ((Model(5, ["int8"] * 2), "got codes 'nf4:nested'"), (Model(4, specs), "got [5, 24, 64]")):
        text = raised(moeq.MismatchError, moeq.distributed.load_shares, other, folder / "native.safetensors")
        assert words in text, text
    assert digest(replicated) == before


class Anonymous(threading.Thread):
    """Private memory of the process beyond what it had before, sampled: .peak and .end."""

    def __enter__(self):
        self.done, self.peak, self.before = False, 0, self.now()
        self.start()
        return self

    def now(self):
        text = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon")) * 1024

    def run(self):
        while not self.done:
            self.peak = max(self.peak, self.now() - self.before)
            time.sleep(0.004)

    def __exit__(self, *error):
        self.end = self.now() - self.before
        self.done = True
        self.join()


def memory(rank, ranks, folder):
    """A rank holds its share of the codes, and hardly more while it comes."""
    collectives.CHUNK = 1 << 20

    def build(seed=None):
        make = torch.nn.ModuleList()
        for place in range(8):
            make.append(torch.nn.Module())
            weight = MoeqTensor.empty(
                (16, 256, 1024), "int8", dtype=torch.float32, device="meta" if seed is None else "cpu"
            )
            if seed is not None:
                for part in weight.components().values():
                    part.view(torch.uint8).fill_(seed + place)
            make[-1].weight = parameter(weight)
        return make

    held = sum(one.quantized_nbytes for one in build().parameters())
    state = build(3).state_dict() if rank == 0 else None
    bounds = {"load_state_dict": held / 2, "load_shares": held / 2, "broadcast": held if rank else 0}
    if rank == 0:
        save_native(dict(build(5).named_parameters()), folder / "memory.safetensors")
    for way, bound in bounds.items():
        model = build()
        if way != "broadcast":
            for layer in model:
                fully_shard(layer)
        elif rank == 0:
            model.load_state_dict(state, assign=True)
        distributed.barrier()
        with Anonymous() as measured:
            if way == "load_state_dict":
                moeq.distributed.load_state_dict(model, state)
            elif way == "load_shares":
                moeq.distributed.load_shares(model, folder / "memory.safetensors")
            else:
                moeq.distributed.broadcast(model)
        assert measured.peak < bound + (6 << 20), (way, measured.peak, bound)  # a weight has 4 MiB
        del model
        gc.collect()


def save_native(weights, path):
    tensors, metadata = {}, {}
    for name, value in weights.items():
        for kept, more in zip((tensors, metadata), saved_tensors(name, value)):
            kept.update(more)
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata)


# ---- ranks that fail


def ranks_fail(rank, ranks, folder):
    """The others hear of an error, and can go on together."""
    for failing in range(ranks):
        try:
            with moeq.distributed.together("loading"):
                if rank == failing:
                    raise ValueError("no such weight")
        except moeq.distributed.RankError as error:
            assert rank != failing and error.failed == (failing,)
            assert str(error) == f"moeq.distributed: loading: rank {failing} failed: ValueError: no such weight"
        except ValueError as error:
            assert rank == failing and str(error) == "no such weight"
        else:
            raise AssertionError("no error")
    with moeq.distributed.together("loading"):
        pass


def rank_is_killed(rank, ranks, folder):
    """The others end with an error as soon as its connections are closed."""
    distributed.barrier()
    try:
        with moeq.distributed.together("loading"):
            if rank == ranks - 1:
                os.kill(os.getpid(), signal.SIGKILL)
    except moeq.distributed.RankError as error:
        assert error.failed == () and "loading: another rank ended" in str(error)
    else:
        raise AssertionError("no error")


def rank_is_killed_while_sending(rank, ranks, folder):
    """A rank that goes after models were compared: whoever waits for it ends with an error that says so."""
    if rank == ranks - 1:
        copies.send = lambda *args: os.kill(os.getpid(), signal.SIGKILL)

    def go_on():
        moeq.distributed.broadcast(Model(seed=rank))
        with moeq.distributed.together("training"):  # for those who had no need of it
            pass

    assert "another rank ended" in raised(moeq.distributed.RankError, go_on)


def rank_does_not_come(rank, ranks, folder):
    """Nobody waits longer than the group's timeout."""
    group = distributed.new_group(timeout=timedelta(seconds=2))
    began = time.monotonic()
    if rank == 1:
        time.sleep(4)
        return
    text = raised(moeq.distributed.RankError, moeq.distributed.broadcast, Model(), group=group)
    assert "did not come" in text and time.monotonic() - began < 30, text


# ---- accelerate and transformers


def moe(spec="nf4", experts=5, seed=0, **options):
    """A small model of transformers with quantized experts, and adapters of PEFT on them."""
    torch.manual_seed(seed)
    config = transformers.Qwen3MoeConfig(
        hidden_size=64, moe_intermediate_size=32, num_experts=experts, num_hidden_layers=2, head_dim=16, vocab_size=64,
        num_attention_heads=2, num_key_value_heads=2, num_experts_per_tok=2, **options,
    )  # fmt: skip
    model = transformers.Qwen3MoeForCausalLM(config)
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            if value.ndim == 3:
                setattr(module, name, parameter(MoeqTensor.quantize(value.detach(), spec)))
    return model


def adapted(model, seed=0):
    torch.manual_seed(seed)
    targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], target_parameters=targets, init_lora_weights=False)
    return peft.get_peft_model(model, config)


def plugin_of(efficient):
    return FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=efficient,
        transformer_cls_names_to_wrap=["Qwen3MoeDecoderLayer"],
    )  # fmt: skip


def accelerator(efficient):
    return take_fsdp(Accelerator(cpu=True), plugin_of(efficient))


def take_fsdp(runs, plugin):
    """On a CPU accelerate takes the plugin only if it is told that it is where FSDP is; all that follows is its own."""
    PartialState().distributed_type = runs.state.distributed_type = DistributedType.FSDP
    runs.state.fsdp_plugin = plugin
    assert runs.is_fsdp2
    return runs


def steps_of(model, optimizer, backward, count=3):
    losses = []
    for turn in range(count):
        optimizer.zero_grad()
        ids = torch.randint(64, (2, 12), generator=torch.Generator().manual_seed(turn))
        loss = model(input_ids=ids, labels=ids).loss
        backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def trained(model, **options):
    parameters = [one for one in model.parameters() if one.requires_grad]
    return torch.optim.AdamW(parameters, lr=1e-2, **options)


def accelerate(rank, ranks, folder, efficient=False):
    """accelerate's own preparation: as the whole model in one process, saved and loaded again."""
    whole, model = adapted(moe()), adapted(moe(seed=0 if rank == 0 or not efficient else 50))
    optimizer_of_whole, optimizer = trained(whole), trained(model)
    if efficient:
        moeq.distributed.prepare(model)
        # accelerate finds an optimizer's parameters by their addresses, and those on meta have none
        text = raised(moeq.StateError, moeq.distributed.prepare, adapted(moe()).to("meta"))
        assert "lora_A.default.weight on meta" in text
        assert same_models(copy.deepcopy(model), model) and same_models(pickle.loads(pickle.dumps(model)), model)
    runs = accelerator(efficient)
    model, optimizer = runs.prepare(model, optimizer)
    quantized = {
        name: one for name, one in model.named_parameters() if type(getattr(one, "_local_tensor", one)) is MoeqTensor
    }
    assert len(quantized) == 4
    for name, one in quantized.items():
        assert same_tensor(one.full_tensor(), whole.get_parameter(name)) and len(one._local_tensor) == (3, 2)[rank]
    wanted = steps_of(whole, optimizer_of_whole, torch.Tensor.backward)
    losses = steps_of(model, optimizer, runs.backward)
    assert relative(losses, wanted) < 1e-5, (losses, wanted)
    for name, one in model.named_parameters():
        if one.requires_grad:
            assert relative(one.full_tensor(), whole.get_parameter(name)) < 1e-3, name
    runs.save_state(folder / f"accelerate-{efficient}")
    for one in model.parameters():
        if one.requires_grad:
            one.data.zero_()
    runs.load_state(folder / f"accelerate-{efficient}")
    wanted = steps_of(whole, optimizer_of_whole, torch.Tensor.backward)
    losses = steps_of(model, optimizer, runs.backward)
    assert relative(losses, wanted) < 1e-4, (losses, wanted)


def accelerate_efficient(rank, ranks, folder):
    accelerate(rank, ranks, folder, efficient=True)


def accelerate_unprepared(rank, ranks, folder):
    """Without `prepare` the main process refuses to send a weight into dense memory, and all end."""
    runs, model = accelerator(True), adapted(moe())
    try:
        runs.prepare(model, trained(model))
    except moeq.UnsupportedError as error:
        assert rank == 0 and "cpu_ram_efficient_loading" in str(error) and "moeq.distributed.prepare" in str(error)
    except RuntimeError as error:
        assert rank == 1 and "peer" in str(error)
    else:
        raise AssertionError("no error")


def accelerate_other_formats(rank, ranks, folder):
    """Ranks that disagree hear of it, all of them, before codes come."""
    model = moeq.distributed.prepare(adapted(moe("nf4" if rank == 0 else "fp4")))
    text = raised(moeq.MismatchError, accelerator(True).prepare, model, trained(model))
    assert "rank 1 got" in text and "quantized fp4" in text and "quantized nf4" in text, text


def from_pretrained(rank, ranks, folder):
    """What moeq.transformers has loaded needs no call. With a cache only the main process quantizes, the others map."""
    runs = accelerator(True)
    os.environ["ACCELERATE_USE_FSDP"] = "true"  # as Accelerator sets it where it takes the plugin itself
    if rank == 0:
        torch.manual_seed(3)
        transformers.Qwen3MoeForCausalLM(moe().config).save_pretrained(folder / "model")
    distributed.barrier()
    config = MoeqConfig("nf4", cache=folder / "cache")

    def load():
        kind = transformers.Qwen3MoeForCausalLM
        return kind.from_pretrained(folder / "model", quantization_config=config, dtype=torch.float32)

    with runs.main_process_first():
        model = load()
    assert {one.source for one in model.hf_quantizer.report().quantized} == {("streamed", "cache")[rank]}
    whole, model = adapted(load()), adapted(model)
    optimizer_of_whole, optimizer = trained(whole), trained(model)
    model, optimizer = runs.prepare(model, optimizer)
    count = 0
    for name, one in model.named_parameters():
        if isinstance(getattr(one, "_local_tensor", one), MoeqTensor):
            assert same_tensor(one.full_tensor(), whole.get_parameter(name)), name
            count += 1
    assert count == 4
    wanted = steps_of(whole, optimizer_of_whole, torch.Tensor.backward)
    losses = steps_of(model, optimizer, runs.backward)
    assert relative(losses, wanted) < 1e-5, (losses, wanted)
    text = raised(moeq.UnsupportedError, model.get_base_model().save_pretrained, folder / f"none-{rank}")
    assert "in shards" in text


def trainer_of(model, folder, **options):
    arguments = transformers.TrainingArguments(
        folder, per_device_train_batch_size=2, learning_rate=1e-2, use_cpu=True, report_to=[], logging_strategy="no",
        disable_tqdm=True, **options,
    )  # fmt: skip
    ids = torch.randint(64, (16, 8), generator=torch.Generator().manual_seed(8))
    return transformers.Trainer(model, arguments, train_dataset=[{"input_ids": row, "labels": row} for row in ids])


def trainer(rank, ranks, folder):
    """transformers' Trainer in two processes, which is DistributedDataParallel on a CPU."""
    model, whole = adapted(moe(seed=rank), seed=rank), adapted(moe())
    before = {name: one.detach().clone() for name, one in whole.named_parameters() if one.requires_grad}
    runs = trainer_of(model, folder / f"trainer-{rank}", max_steps=2, save_strategy="no")
    runs.train()
    assert runs.accelerator.distributed_type == DistributedType.MULTI_CPU and runs.accelerator.num_processes == ranks
    adapters = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert all(0 < relative(one, before[name]) < 0.5 for name, one in adapters.items()) and same_everywhere(
        digest(model)
    )
    for name, one in model.named_parameters():
        if isinstance(one, MoeqTensor):
            assert same_tensor(one, whole.get_parameter(name)), name


def trainer_fsdp(rank, ranks, folder):
    """Trainer on accelerate's FSDP2 with cpu_ram_efficient_loading: resumed training is the same, adapters are saved."""
    model = moeq.distributed.prepare(adapted(moe(seed=rank)))
    runs = trainer_of(model, folder / "trainer-fsdp", max_steps=4, save_strategy="steps", save_steps=2)
    plugin = plugin_of(True)
    take_fsdp(runs.accelerator, plugin)
    runs.is_fsdp_enabled = True  # what it asked when it was made
    runs.train()
    trained = {name: one.full_tensor() for name, one in model.named_parameters() if one.requires_grad}
    runs.train(resume_from_checkpoint=str(folder / "trainer-fsdp" / "checkpoint-2"))
    assert runs.state.global_step == 4
    resumed = {name: one.full_tensor() for name, one in model.named_parameters() if one.requires_grad}
    assert all(relative(one, trained[name]) < 1e-6 for name, one in resumed.items())
    whole = moe()
    quantized = [one for one in model.parameters() if type(getattr(one, "_local_tensor", one)) is MoeqTensor]
    wanted = [one for one in whole.parameters() if isinstance(one, MoeqTensor)]
    assert len(wanted) == 4 and all(same_tensor(a.full_tensor(), b) for a, b in zip(quantized, wanted))
    plugin.set_state_dict_type("FULL_STATE_DICT")  # as one does before the last save
    runs.save_model(folder / "trained")
    distributed.barrier()
    again = peft.PeftModel.from_pretrained(whole, folder / "trained")
    assert all(torch.equal(again.get_parameter(name), one) for name, one in resumed.items())
