"""Whether a native stack has its experts in their order, gate and up where its layout says: no loader tells that."""

import re

HALVES = re.compile(r"gate_up_proj$|(^|\.)mlp\.input_linear\.weight$")
KINDS = {"w1": "gate", "v1": "up"}  # dbrx has a parameter for each
OF_ONE = re.compile(r"experts\.(?:expert_)?(\d+)\.")  # a parameter of one expert


def meanings(expert):
    """For each vector of a parameter: gate, up or whole; whose; the how manyth of those."""
    alone = OF_ONE.search(expert.name)
    experts = 1 if alone else expert.value.shape[0]
    each = len(expert.vectors()) // experts
    for number in range(experts * each):
        owner, place = divmod(number, each)
        owner = int(alone[1]) if alone else owner
        if not HALVES.search(expert.name):
            yield KINDS.get(expert.name.rpartition(".")[2], "whole"), owner, place
        elif expert.in_turns:
            yield ("gate", "up")[place % 2], owner, place // 2
        else:
            yield ("gate", "up")[place >= each // 2], owner, place % (each // 2)


def wanted(layout, rows):
    """Kinds and places of one expert's outputs, by the layout's name."""
    half = rows // 2
    if layout == "gate_up":
        return [("gate", place) for place in range(half)] + [("up", place) for place in range(half)]
    if layout == "gate_up_interleaved":
        return [(("gate", "up")[place % 2], place // 2) for place in range(rows)]
    return [("whole", place) for place in range(rows)]


def order_faults(experts, decoded, found):
    meaning = {(expert.name, number): said for expert in experts for number, said in enumerate(meanings(expert))}
    faults = []
    for name, entries in found.order.items():
        ordered = [meaning[parameter, number] for _, parameter, number in sorted(entries)]
        count = decoded[name].values.shape[0]
        rows = len(ordered) // count
        expected = wanted(decoded[name].layout, rows)
        for position in range(count):
            part = ordered[position * rows : (position + 1) * rows]
            owners = {owner for _, owner, _ in part}
            # Gate alone, or up alone: a stack of its own where one handle cannot hold the statistics of both.
            kinds = [("whole" if len({kind for kind, _, _ in part}) == 1 else kind, place) for kind, _, place in part]
            if owners != {position} or kinds != expected:
                faults.append(f"{name}: expert {position} has another's outputs, or in another order")
                break
    return faults
