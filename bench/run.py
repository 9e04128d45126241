#!/usr/bin/env python3
"""Measures moeq, the movers of the same bytes and other packages in one go, and compares with the goals.

    bench/run.py --driver build/release/bench/moeq_bench [--out build/bench.json] [--only qwen3-30b,l2] [--no-peers]

docs/bench.md says what is measured and how to read it. The shapes are the files of bench/shapes.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import peers

SHAPES = Path(__file__).resolve().parent / "shapes"
BINDINGS = Path(__file__).resolve().parent.parent / "bindings" / "python"
BUSY_LOAD = 1.5  # above it the figures are of a machine that did something else too
UNSTEADY = 20  # percent; when the shares of the runs spread more, a verdict gets a question mark

# Goals for bf16. Memory: least share of the mover's speed in percent, by (operation, format): AVX-512 on one thread,
# AVX2 on one thread, AVX-512 on all threads. L2: the most times that the mover's time may be taken, on one thread.
MEMORY_GOALS = {
    **{("amax", what): (95, 95, 95) for what in ("-", "experts", "rows", "columns", "blocks")},
    **{("sum", what): (90, 90, 90) for what in ("-", "experts", "rows", "columns", "blocks")},
    ("quantize", "int8"): (90, 85, 90),
    ("dequantize", "int8"): (95, 60, 95),
    ("dequantize", "fp8_e4m3"): (95, 40, 95),
    ("dequantize", "nf4"): (95, 95, 95),
    ("dequantize", "nf4:nested"): (95, 95, 95),
    ("quantize", "fp8_e4m3"): (70, 35, 90),
    ("quantize", "nf4"): (55, 25, 80),
}
L2_GOALS = {
    ("dequantize", "int8"): (1.3, None),
    ("dequantize", "fp8_e4m3"): (1.3, None),
    ("dequantize", "nf4"): (1.7, 5.0),
}

# Least number of times that moeq, with its destination warm, is as fast as a peer, by (shape, peer).
PEER_GOALS = {
    ("one-expert", "torch int8 quantize"): 10,
    ("one-expert", "torch int8 dequantize"): 10,
    ("one-expert", "torch float8 quantize"): 10,
    ("one-expert", "torch float8 dequantize"): 10,
    ("one-expert", "bitsandbytes quantize_4bit"): 100,
    ("one-expert", "bitsandbytes dequantize_4bit"): 7,
    ("qwen3-30b", "bitsandbytes dequantize_4bit"): 7,
    ("qwen3-30b", "bitsandbytes nf4 kernel, 1 thread"): 2,
    ("l2", "bitsandbytes nf4 kernel, 1 thread"): 5,
    ("l2", "bitsandbytes dequantize_4bit"): 7,
    ("one-expert", "torchao int8 quantize"): 10,
    ("one-expert", "torchao int8 dequantize"): 10,
    ("one-expert", "torchao float8 quantize"): 10,
    ("one-expert", "torchao float8 dequantize"): 10,
}
PYTHON_CALL_GOAL = 4  # least number of times that moeq's call from Python for a small row is as fast as bitsandbytes'
CALLS = ("int8", "fp8_e4m3", "nf4")  # formats whose smallest call is measured


# ---- the machine ----------------------------------------------------------------------------------------------------


def text_of(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def cpu_name():
    for line in text_of("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def caches():
    """Caches of the first core, such as {"L1d": "48K", "L2": "1024K"}."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = text_of(folder / "type")
        if kind != "Instruction":
            found[f"L{text_of(folder / 'level')}{'d' if kind == 'Data' else ''}"] = text_of(folder / "size")
    return found


def machine_facts():
    lines = text_of("/proc/meminfo").splitlines()
    memory = next((line.split()[1] for line in lines if line.startswith("MemTotal")), "0")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_name(),
        "caches": caches(),
        "memory_gib": round(int(memory) / 2**20, 1),
        "virtual": " hypervisor" in text_of("/proc/cpuinfo"),
        "huge_pages": text_of("/sys/kernel/mm/transparent_hugepage/enabled"),
        "system": f"{platform.system()} {platform.release()}",
        "load_at_start": round(os.getloadavg()[0], 2),
    }


# ---- measuring ------------------------------------------------------------------------------------------------------


class Driver:
    """The program that measures: a request a line, an answer a line."""

    def __init__(self, path):
        self.process = subprocess.Popen([str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"bench: the driver stopped at: {' '.join(map(str, words))}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def thread_counts(cpus):
    """1, 2, 4 and so on, and all."""
    counts = [1]
    while counts[-1] * 2 < cpus:
        counts.append(counts[-1] * 2)
    return counts + ([cpus] if cpus > 1 else [])


def spread(times):
    """Distance between the quartiles, in percent of the median."""
    low, middle, high = statistics.quantiles(times, n=4)
    return 100 * (high - low) / middle


def paired(mover, times):
    """The mover's time as a part of moeq's, for each run of moeq: that of the mover's runs just before and just after."""
    around = itertools.pairwise(mover["ns"])
    return [(before + after) / 2 / ns for (before, after), ns in zip(around, times, strict=True)]


def measure_case(driver, shape, case, threads, tier, best_tier):
    case = {"warmth": "warm", "layout": "plain", **case}
    answer = driver.ask("case", case["op"], case["spec"], case["dtype"], *shape["shape"], threads, tier,
                        case["warmth"], case["layout"])
    row = {"shape": shape["name"], "goals": shape["goals"], **case, "threads": threads,
           "tier": best_tier if tier == "best" else tier, **answer}
    row["ns"] = statistics.median(row["moeq_ns"])
    row["spread"] = spread(row["moeq_ns"])
    # What a kernel of this tier can be compared with: vectors of its width, with the stores that are faster here.
    widths = {mover["isa"] for mover in row["movers"]}
    isa = row["tier"] if row["tier"] in widths else "sse2" if "sse2" in widths else "generic"
    fits = (mover for mover in row["movers"] if mover["isa"] == isa)
    mover = min(fits, key=lambda mover: statistics.median(mover["ns"]))
    shares = paired(mover, row["moeq_ns"])
    row["mover"] = f"{mover['isa']} {mover['stores']}".removesuffix(" none")
    row["mover_ns"] = statistics.median(mover["ns"])
    row["share"] = statistics.median(shares)
    row["share_spread"] = spread(shares)
    for mover in row["movers"]:
        mover["ns"], mover["spread"] = statistics.median(mover["ns"]), spread(mover["ns"])
    return row


def goal_of(row, cpus):
    """(share or factor, its goal or None, reached or None)."""
    key = (row["op"], row["spec"])
    share = 100 * row["share"]
    if row["goals"] is None or row["dtype"] != "bf16" or row["warmth"] != "warm" or row["layout"] != "plain":
        return share, None, None
    one_thread = row["threads"] == 1
    column = {("avx512", True): 0, ("avx2", True): 1}.get((row["tier"], one_thread))
    if row["goals"] == "l2":
        goals = L2_GOALS.get(key)
        goal = goals[column] if goals and column is not None else None
        factor = 1 / row["share"]
        return factor, goal, None if goal is None else factor <= goal
    if column is None and row["tier"] == "avx512" and row["threads"] == cpus:
        column = 2
    goals = MEMORY_GOALS.get(key)
    goal = goals[column] if goals and column is not None else None
    return share, goal, None if goal is None else share >= goal


def measure_shape(driver, shape, cpus, best_tier):
    for tier in shape["tiers"]:
        if tier == best_tier or (tier != "best" and best_tier not in ("avx2", "avx512")):
            continue  # the same again, or more than this CPU has
        for case in shape["cases"]:
            cold = case.get("warmth") == "cold"
            if cold and tier != "best":
                continue
            counts = [1] if tier != "best" else [cpus] if cold else thread_counts(cpus)
            for threads in counts:
                row = measure_case(driver, shape, case, threads, tier, best_tier)
                row["value"], row["goal"], row["reached"] = goal_of(row, cpus)
                yield row


def measure_peers(shape, modules, cpus, rows):
    """Each peer beside moeq's own figure for the same work, on as many threads."""
    if not modules:
        return
    for name in shape["peers"]:
        if name.split()[0] not in modules:
            continue
        threads = 1 if name.endswith("1 thread") else cpus
        modules["torch"].set_num_threads(threads)
        times = peers.measure(peers.prepare(name, shape["shape"], modules))
        work = peers.SAME_WORK[name]
        ours = [row for row in rows if row["shape"] == shape["name"] and row["threads"] == threads and
                row["tier"] == rows[0]["tier"] and (row["op"], row["spec"], row["dtype"]) == work]
        elements = shape["shape"][0] * shape["shape"][1] * shape["shape"][2]
        row = {"shape": shape["name"], "peer": name, "threads": threads, "elements": elements, "peer_ns": times,
               "ns": peers.median(times), "spread": spread(times),
               "moeq_ns": {row["warmth"]: row["ns"] for row in ours}}
        row["goal"] = PEER_GOALS.get((shape["name"], name))
        row["reached"] = None
        if row["goal"] is not None and "warm" in row["moeq_ns"]:
            row["reached"] = row["ns"] >= row["goal"] * row["moeq_ns"]["warm"]
        yield row
    time.sleep(0.1)  # the threads of a peer may still be spinning


def measure_python_call(modules, driver):
    """{package: nanoseconds}, moeq's through its own Python; {} and why where a package is missing."""
    if "bitsandbytes" not in modules:
        return {}, "needs torch and bitsandbytes"
    os.environ.setdefault("MOEQ_LIBRARY", str(driver.resolve().parent.parent / "libmoeq.so"))
    sys.path.insert(0, str(BINDINGS))
    modules["torch"].set_num_threads(1)
    try:
        calls = peers.small_calls(modules)
    except Exception as error:  # as in peers.find
        return {}, f"{type(error).__name__}: {error}"
    return {name: peers.median(peers.measure(call)) for name, call in calls.items()}, None


# ---- the report -----------------------------------------------------------------------------------------------------


def per_thousand(row, ns):
    return ns / row["elements"] * 1000


def print_machine(facts, driven):
    levels = ", ".join(f"{name} {size}" for name, size in facts["caches"].items())
    print(f"{facts['cpu']}, {driven['cpus']} cores{' of a virtual machine' if facts['virtual'] else ''}; {levels}; "
          f"{facts['memory_gib']} GiB; {facts['date']}")
    cpu = driven["moeq"]["cpu"]
    print(f"moeq {driven['moeq']['version']}, tier {cpu['tier']} ({cpu['reason']})")
    trips = ", ".join(f"{trip['cpus'][0]}-{trip['cpus'][1]}: {trip['ns']:.0f} ns" for trip in driven["round_trips"])
    print(f"core-to-core round trip {trips or 'not measured on one core'}; load {facts['load_at_start']}")
    if facts["load_at_start"] >= BUSY_LOAD:
        print("The machine was busy when this began: take the figures as an impression only.")


COLUMNS = "{:40} {:7} {:>7} {:>9} {:>6}  {:18} {:>9} {:>9} {:>6} {:>9}  {}"


def print_row(row):
    name = f"{row['op']} {row['spec'] if row['spec'] != '-' else ''}".strip() + f" {row['dtype']}"
    l2 = row["goals"] == "l2"
    value = f"{row['value']:.2f} x" if l2 else f"{row['value']:.0f} %"
    goal = "" if row["goal"] is None else f"<= {row['goal']} x" if l2 else f">= {row['goal']} %"
    verdict = {None: "", True: "reached", False: "MISSED"}[row["reached"]]
    if verdict and row["share_spread"] > UNSTEADY:
        verdict += " ?"
    steadiness = f"{row['share_spread']:.0f} %"
    if row["layout"] != "plain":
        name += f" {row['layout']}"
    if row["warmth"] == "cold":
        name, value, steadiness, verdict = f"{name} cold", "", "", "new pages; the mover is warm"
    print(COLUMNS.format(name, row["tier"], row["threads"], f"{per_thousand(row, row['ns']):.1f}",
                         f"{row['spread']:.0f} %", row["mover"], f"{per_thousand(row, row['mover_ns']):.1f}", value,
                         steadiness, goal, verdict).rstrip(), flush=True)


def print_head(shape):
    experts, rows, columns = shape["shape"]
    print(f"\n{shape['name']} [{experts}, {rows}, {columns}]: {shape['about']}")
    print(COLUMNS.format("ns per 1000 elements", "tier", "threads", "moeq", "spread", "mover", "ns",
                         "of mover" if shape["goals"] != "l2" else "time", "spread", "goal", "").rstrip())


def print_peer(row):
    ours = "; ".join(f"moeq {warmth} {per_thousand(row, ns):.1f}, {row['ns'] / ns:.1f} times as fast"
                     for warmth, ns in row["moeq_ns"].items())
    verdict = "" if row["reached"] is None else \
        f"; goal {row['goal']} times {'reached' if row['reached'] else 'MISSED'}"
    print(f"  {row['peer']:34} {row['threads']} threads {per_thousand(row, row['ns']):10.1f}, spread"
          f" {row['spread']:.0f} %; {ours}{verdict}", flush=True)


def print_calls(calls):
    print("\nA call by itself, one row of 64 columns to bf16: " +
          ", ".join(f"{spec} {ns:.0f} ns" for spec, ns in calls.items()), flush=True)


def print_python_call(calls):
    if not calls:
        return
    times = calls["bitsandbytes"] / calls["moeq"]
    print(f"The same from Python into memory that is there, nf4: {calls['moeq'] / 1000:.2f} us; bitsandbytes "
          f"dequantize_4bit {calls['bitsandbytes'] / 1000:.2f} us, moeq {times:.1f} times as fast; goal "
          f"{PYTHON_CALL_GOAL} times {'reached' if times >= PYTHON_CALL_GOAL else 'MISSED'}", flush=True)


def print_end(rows, peer_rows, missing, seconds):
    judged = [row for row in rows if row["reached"] is not None]
    reached = sum(row["reached"] for row in judged)
    unsteady = sum(row["share_spread"] > UNSTEADY for row in judged)
    print(f"\n{reached} of {len(judged)} goals reached, {unsteady} unsteady verdicts (?); measured in "
          f"{seconds:.0f} s.")
    judged = [row for row in peer_rows if row["reached"] is not None]
    if judged:
        print(f"{sum(row['reached'] for row in judged)} of {len(judged)} goals against other packages reached.")
    for name, reason in missing.items():
        print(f"Left out: {name} ({reason})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", type=Path, required=True, help="the program moeq_bench")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--only", help="names of shapes, separated by commas")
    parser.add_argument("--no-peers", action="store_true", help="measure moeq and the movers only")
    options = parser.parse_args()
    shapes = [json.loads(path.read_text()) for path in sorted(SHAPES.glob("*.json"))]
    if options.only:
        names = options.only.split(",")
        unknown = set(names) - {shape["name"] for shape in shapes}
        if unknown:
            parser.error(f"no such shape: {', '.join(sorted(unknown))}")
        shapes = [shape for shape in shapes if shape["name"] in names]

    begin = time.monotonic()
    facts = machine_facts()
    modules, missing = ({}, {"peers": "--no-peers"}) if options.no_peers else peers.find()
    driver = Driver(options.driver)
    driven = driver.ask("machine")
    best_tier = driven["moeq"]["cpu"]["tier"]
    print_machine(facts, driven)
    rows, peer_rows = [], []
    for shape in shapes:
        print_head(shape)
        for row in measure_shape(driver, shape, driven["cpus"], best_tier):
            print_row(row)
            rows.append(row)
        for row in measure_peers(shape, modules, driven["cpus"], rows):
            print_peer(row)
            peer_rows.append(row)
    calls = {spec: driver.ask("call", spec)["ns"] for spec in CALLS}
    print_calls(calls)
    driver.close()
    python_calls = {}
    if not options.no_peers:
        python_calls, reason = measure_python_call(modules, options.driver)
        if reason:
            missing["calls from Python"] = reason
        print_python_call(python_calls)
    print_end(rows, peer_rows, missing, time.monotonic() - begin)
    if options.out:
        versions = {name: module.__version__ for name, module in modules.items()}
        result = {"machine": facts | driven, "packages": versions, "left_out": missing, "cases": rows,
                  "peers": peer_rows, "call_ns": calls, "python_call_ns": python_calls}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result) + "\n")
        print(f"Written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
