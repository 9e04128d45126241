"""--only, --skip and --rule: which weights become what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .. import Plan, PlanKept, Reader, StackInfo
from .ending import CommandError
from .options import checked_target, tensors_of

LEAVE = ("none", "null", "dense", "")  # as the spec of a rule


def glob_regex(glob: str) -> re.Pattern[str]:
    """As the library has globs: `*` is any run of characters without a dot, `**` any run at all."""
    parts = re.split(r"(\*\*|\*)", glob)
    return re.compile("".join({"*": "[^.]*", "**": ".*"}.get(part) or re.escape(part) for part in parts), re.DOTALL)


def matches(globs: Iterable[str], name: str) -> bool:
    return any(glob_regex(glob).fullmatch(name) for glob in globs)


@dataclass
class Selection:
    """What --skip, --rule and --only say.

    rules: globs and specs for the library, of which the first match wins; None leaves a weight.
    given: the options with their globs, as they were written. left_out: names of stacks that no option names.
    """

    rules: list[tuple[str, str | None]] = field(default_factory=list)
    given: list[tuple[str, str]] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)

    def translate(self, plan: Plan) -> Plan:
        """A plan that says --only where the library says that a rule has the name of the stack."""
        return replace(plan, kept=tuple(map(self._translated, plan.kept)))

    def _translated(self, entry: PlanKept) -> PlanKept:
        by_name = entry.name in self.left_out and entry.detail == entry.name
        return replace(entry, detail="not named by --only") if by_name else entry

    def leaving(self, plan: Plan, stacks: Iterable[StackInfo]) -> str:
        """The options that leave every expert weight as it is; "" where something else does so too."""
        rules = {entry.name: entry.detail for entry in plan.kept if entry.reason == "kept dense by rule"}
        names = [stack.name for stack in stacks]
        if not names or not set(names) <= set(rules):
            return ""
        options = {glob: f"{option} {glob!r}" for option, glob in self.given if option != "--only"}
        return ", ".join(dict.fromkeys(options.get(rules[name] or "", "--only") for name in names))

    def remarks(self, plan: Plan, reader: Reader) -> list[str]:
        """What of it has no effect on a plan."""
        stacks = [stack.name for stack in reader.stacks]
        others = [tensor.name for tensor in tensors_of(reader).get(-1, []) if len(tensor.shape) == 2]
        found = []
        for option, glob in self.given:
            if option == "--only":
                if not any(matches([glob], name) for name in stacks):
                    found.append(f"{option} {glob!r} names no expert weight")
            elif not any(matches([glob], name) for name in (*stacks, *others)):
                found.append(f"{option} {glob!r} names no expert weight and no matrix")
            elif glob in plan.unused_rules:
                found.append(f"{option} {glob!r} has no effect: options before it have all that it names")
        return found


def selection(reader: Reader, only: list[str] | None, skip: list[str] | None, rule: list[str] | None) -> Selection:
    if "" in (only or ()) or "" in (skip or ()):
        raise CommandError("--only, --skip: got an empty text; wanted a name, in which * and ** may stand")
    skip = list(dict.fromkeys(skip or ()))
    made = Selection([(glob, None) for glob in skip], [("--skip", glob) for glob in skip])
    for text in rule or ():
        glob, equals, spec = text.partition("=")
        if not equals or not glob:
            raise CommandError(f"--rule: got {text!r}; wanted GLOB=SPEC", "for example --rule '**.down_proj=int8'")
        made.rules.append((glob, None if spec in LEAVE else str(checked_target(spec, "--rule"))))
        made.given.append(("--rule", glob))
    if only:
        # Expert weights that no glob names are named one by one: a rule for "all the others" would also be one for
        # 2-D weights, which stay as they are without any rule.
        names = [stack.name for stack in reader.stacks]
        if not any(matches(only, name) for name in names):
            raise CommandError(f"--only: no expert weight is called {' or '.join(only)}", "moeq inspect lists them")
        taken = [glob for glob, _ in made.rules]
        made.left_out = {name for name in names if not matches(only, name) and not matches(taken, name)}
        made.rules += [(name, None) for name in names if name in made.left_out]
        made.given += [("--only", glob) for glob in only]
    return made
