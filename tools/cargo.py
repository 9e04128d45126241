"""Whether Rust can be used here."""

import shutil
import subprocess


def missing() -> str | None:
    """Why cargo cannot be run; None: it can. rustup's cargo is there without a toolchain where HOME is not its owner's."""
    if not shutil.which("cargo"):
        return "cargo is not installed"
    tried = subprocess.run(["cargo", "--version"], capture_output=True, text=True)
    if tried.returncode == 0:
        return None
    said = next((line for line in tried.stderr.splitlines() if line.strip()), f"it ends with {tried.returncode}")
    return f"cargo does not run: {said.removeprefix('error: ')}"
