"""Streams a Mixture-of-Experts checkpoint into quantized handles and measures what that does to the model.

    python examples/demo --model tests/data/tiny-moe --out build/demo

checkpoint.py reads safetensors, model.py is the forward pass in numpy, text.py finds something to score, streaming.py
feeds the builders, measure.py takes the figures of one format in a process of its own, report.py prints and draws them.
"""


class DemoError(Exception):
    """Something the user can put right: one line that says what is wrong, and a hint."""

    def __init__(self, problem: str, hint: str):
        super().__init__(f"{problem} ({hint})")
        self.problem = problem
        self.hint = hint
