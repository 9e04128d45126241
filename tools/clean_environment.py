"""The environment that tests run in, made from nothing: what happens to be set where they are run hides faults.

Left are the places of things, the language, and what it takes to reach package registries.
"""

import os
import sys
from pathlib import Path

KEPT = {
    "HOME", "PATH", "TMPDIR", "LANG", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",  # configuration of pip, uv and the like
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "LIBCLANG_PATH",
}
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}  # in capitals, too
REGISTRIES = ("PIP_", "UV_", "CARGO_", "RUSTUP_")
LANGUAGE = "C.UTF-8"


def is_kept(name):
    return name in KEPT or name.lower() in PROXIES or name.startswith(REGISTRIES)


def clean_environment(given=os.environ, **more):
    """Of the given variables those that are kept, and more. This environment's programs come first on PATH."""
    kept = {name: value for name, value in given.items() if is_kept(name)}
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), kept.get("PATH", os.defpath)])
    return {"LANG": LANGUAGE} | kept | {"PATH": path} | {name: str(value) for name, value in more.items()}
