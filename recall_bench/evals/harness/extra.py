"""Checks and settings for the optional packages, made before they are first imported."""

import importlib.util
import os
import socket
import sys
import urllib.parse

from recall_bench.errors import UserError

PACKAGES = ("lm_eval", "transformers", "accelerate", "datasets")
HUB = "https://huggingface.co"
OFFLINE = "HF_HUB_OFFLINE"
CONNECT_SECONDS = 5.0


def require() -> None:
    """Raises `UserError` that names the extra if one of its packages is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"Evaluating existing models needs packages that are not installed: "
            f"{', '.join(missing)}. "
            f'Run `pip install "recall-bench[eval]"`.'
        )


def keep_to_installed_code() -> None:
    """Keep transformers from loading compiled kernels from the hub, unless the user enables it.

    With the package `kernels` installed it would download and run them without asking.
    """
    os.environ.setdefault("USE_HUB_KERNELS", "NO")


def go_offline_without_a_hub() -> bool:
    """Whether the hub is reachable; if it is not, its clients are set to use only their cache.

    Otherwise they would retry for 23 seconds per file. Behind a proxy this function cannot test the
    connection, and leaves the clients as they are.
    """
    if os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    hub = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", HUB))
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname or "", port), CONNECT_SECONDS).close()
    except OSError:
        os.environ[OFFLINE] = "1"
        for name in ("huggingface_hub.constants", "datasets.config"):
            if name in sys.modules:  # it has read the environment already
                setattr(sys.modules[name], OFFLINE, True)
        return False
    return True
