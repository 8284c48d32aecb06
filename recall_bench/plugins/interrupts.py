"""Tells Ctrl-C and SIGTERM from a `KeyboardInterrupt` that other code raises."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_received: signal.Signals | None = None


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM raise `KeyboardInterrupt`; `received_signal` tells which.

    Signals that the process ignores or handles in its own way, as under nohup, stay as they are.
    """
    global _received
    _received = None
    ours = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {sign: usual for sign, usual in ours.items() if signal.getsignal(sign) == usual}
    for sign in before:
        signal.signal(sign, _interrupt)
    try:
        yield
    finally:
        for sign, usual in before.items():
            signal.signal(sign, usual)


def received_signal() -> signal.Signals | None:
    """The signal that arrived within the last block of `watched`, if any."""
    return _received


def by_user(error: BaseException) -> bool:
    """Whether an exception is the user's interruption and not an error of the code that raised it.

    Outside of `watched`, every `KeyboardInterrupt` counts as the user's.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    return _received is not None or signal.getsignal(signal.SIGINT) is not _interrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    _received = signal.Signals(number)
    raise KeyboardInterrupt
