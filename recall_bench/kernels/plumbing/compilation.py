"""The time that this process has spent compiling Triton kernels."""

import threading
from typing import Any

_lock = threading.Lock()
_seconds = 0.0
_listening = False


def seconds() -> float:
    """Seconds of compilation so far, added over threads, without reads of Triton's cache."""
    return _seconds


def listen() -> None:
    """Count from here on; call it where Triton is imported. Older versions tell nothing: zero."""
    global _listening
    from triton import knobs

    compilation: Any = getattr(knobs, "compilation", None)
    if _listening or not hasattr(compilation, "listener"):
        return
    _listening = True
    earlier = compilation.listener

    def count(*, times: Any, cache_hit: bool, **others: Any) -> None:
        if not cache_hit:
            _add(times.total / 1e6)
        if earlier is not None:
            earlier(times=times, cache_hit=cache_hit, **others)

    compilation.listener = count


def _add(more: float) -> None:
    global _seconds
    with _lock:
        _seconds += more
