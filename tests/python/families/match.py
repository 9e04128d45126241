"""Which vector of a file is which vector of a model: told by values alone, so no layout and no name is assumed."""

from dataclasses import dataclass

import torch

from .decode import bound

PROBES = {"nf4": 1000}  # elements of a vector that are compared with everything; blocks of NF4 hide small vectors
FEW = 24


@dataclass
class Vectors:
    """Vectors of one length from the decoded tensors of a file, along either axis, and where they come from."""

    values: torch.Tensor
    scale: torch.Tensor
    tensors: list  # name for each
    along: list  # -1 or -2 for each
    places: torch.Tensor  # number of the vector in its tensor


def gather(decoded, length):
    found = Vectors(torch.empty(0, length), torch.empty(0, length), [], [], torch.empty(0, dtype=torch.long))
    values, scales, places = [], [], []
    for name, one in decoded.items():
        for axis in (-1, -2):
            if one.values.ndim < 2 or one.values.shape[axis] != length:
                continue
            turned = one.values if axis == -1 else one.values.transpose(-1, -2)
            scale = one.scale if axis == -1 else one.scale.transpose(-1, -2)
            values.append(turned.reshape(-1, length))
            scales.append(scale.reshape(-1, length))
            found.tensors += [name] * len(values[-1])
            found.along += [axis] * len(values[-1])
            places.append(torch.arange(len(values[-1])))
    if values:
        found.values, found.scale, found.places = torch.cat(values), torch.cat(scales), torch.cat(places)
    return found


def nearest(wanted, offered, kind):
    """For each vector the one that is most like it."""
    step = max(1, wanted.shape[1] // PROBES.get(kind, FEW))
    a, b = (torch.nn.functional.normalize(side[:, ::step], dim=1) for side in (wanted, offered))
    return torch.cat([(part @ b.T).argmax(1) for part in a.split(1024)])


@dataclass
class Match:
    """What the decoded tensors of a file say about a model's experts."""

    vectors: dict  # by the expert parameter's name: its vectors as decoded
    faults: list
    used: dict  # file tensor -> {(parameter, along)}
    order: dict  # file tensor -> [(place, parameter, number of the vector in the parameter)]


def likeness(wanted, found, scale, kind):
    """What is wrong with each vector: 0 nothing, 1 another vector, 2 beyond the bound of the format."""
    result = torch.where(torch.nn.functional.cosine_similarity(wanted, found, dim=1) < 0.5, 1, 0)
    one = type("One", (), {"scale": scale, "kind": kind})
    beyond = ((found - wanted).abs() > bound(wanted, one)).any(1)
    return torch.where((result == 0) & beyond, 2, result)


def match(experts, decoded):
    kind = next(iter(decoded.values())).kind if decoded else ""
    result = Match({}, [], {}, {})
    pools = {}
    taken = set()
    for expert in experts:
        wanted = expert.vectors().float()
        length = wanted.shape[1]
        pool = pools.setdefault(length, gather(decoded, length))
        if not len(pool.values):
            result.faults.append(f"{expert.name}: not quantized")
            continue
        best = nearest(wanted, pool.values, kind)
        found, scale = pool.values[best], pool.scale[best]
        verdict = likeness(wanted, found, scale, kind)
        if (verdict == 1).all():
            result.faults.append(f"{expert.name}: not quantized")
            continue
        if (verdict == 1).any():
            result.faults.append(f"{expert.name}: {int((verdict == 1).sum())} of {len(verdict)} vectors are missing")
        if (verdict == 2).any():
            result.faults.append(
                f"{expert.name}: {int((verdict == 2).sum())} of {len(verdict)} vectors beyond the bound"
            )
        result.vectors[expert.name] = found
        for number, index in enumerate(best.tolist()):
            name, place = pool.tensors[index], int(pool.places[index])
            key = (name, pool.along[index], place)
            if key in taken:
                result.faults.append(f"{name}: a vector stands for two of the model")
                break
            taken.add(key)
            result.used.setdefault(name, set()).add((expert.name, pool.along[index]))
            result.order.setdefault(name, []).append((place, expert.name, number))
        result.faults += scale_faults(expert.name, wanted, scale, kind)
    result.faults += [f"{name}: quantized, and no expert" for name in decoded if name not in result.used]
    return result


def scale_faults(name, wanted, scale, kind):
    """Where all of a vector has one scale, the format has a scale per row: it has to be the vector's own."""
    if kind == "nf4" or not bool((scale == scale[:, :1]).all()):
        return []
    largest = wanted.abs().amax(1)
    expected = largest / 448 if kind == "fp8" else largest * torch.tensor(1 / 127, dtype=torch.float32)
    own = (scale[:, 0] - expected).abs() <= expected * 1e-6
    per_tile = scale[:, 0] >= expected * (1 - 1e-6)
    if own.all() or (kind == "fp8" and per_tile.all() and len(set(scale[:, 0].tolist())) < len(scale) / 8):
        return []
    return [f"{name}: {int((~own).sum())} of {len(own)} scales are not of the axis that is summed over"]
