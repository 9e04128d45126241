"""Quantizes a Mixture-of-Experts checkpoint with the command line and measures what that does to the model.

    python examples/demo --model tests/data/tiny-moe --out build/demo

commands.py runs `moeq`, checkpoint.py and experts.py read weights through moeq, model.py is the forward pass in numpy,
text.py finds something to score, report.py prints and draws.
"""


class DemoError(Exception):
    """Something the user can put right: one line that says what is wrong, and a hint."""

    def __init__(self, problem: str, hint: str):
        super().__init__(f"{problem} ({hint})")
        self.problem = problem
        self.hint = hint
