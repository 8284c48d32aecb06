"""Continues a scan in another process, which has nothing but the state.

A mixer may keep its memory in a global and only a number in the state, by which it finds the memory
again. Within one process, no copy of the state shows this.
"""

import io
import multiprocessing
import sys
import warnings
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from recall_bench.plugins.registration import one_line
from recall_bench.testing.compare import agree
from recall_bench.testing.report import Failure
from recall_bench.testing.subject import MixerSubject, scan

STREAM = 7
"""Inputs that no other property shows to the mixer: it cannot have kept anything about them."""
SECONDS = 60.0


def possible(subject: MixerSubject) -> bool:
    """Whether the other process can compute: a forked process cannot use the GPU."""
    return sys.platform == "linux" and subject.device.type == "cpu"


def continues(subject: MixerSubject) -> None:
    """Raise `Failure` if a process forked before the scan cannot continue from its state."""
    cut = subject.length // 2
    x = subject.inputs(STREAM)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_second_half, args=(subject, x[:, cut:], there), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks beside threads
        child.start()
    there.close()
    try:
        mixer = subject.mixer()
        _, state = scan(mixer, x[:, :cut], mixer.initial_state(subject.batch))
        here.send_bytes(_packed(state))
        second, _ = scan(mixer, x[:, cut:], state)
        if not here.poll(SECONDS):
            raise Failure(f"another process did not continue the scan within {SECONDS:.0f} s")
        try:
            answer = _unpacked(here.recv_bytes())
        except EOFError as error:
            raise Failure("another process ended while it continued the scan") from error
    finally:
        child.kill()
        child.join()
        here.close()
    if isinstance(answer, str):
        raise Failure(f"another process cannot continue from the state: it raised {answer}")
    what = f"steps from {cut} on, continued by another process from the state alone"
    agree(answer, second, what, subject.tolerance, ("row", "step", "channel"))


def _second_half(subject: MixerSubject, x: Tensor, connection: Connection) -> None:
    """The other process: its threads are gone with the fork, so that it computes with one."""
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            answer: Any = scan(subject.mixer(), x, _unpacked(connection.recv_bytes()))[0]
    except BaseException as error:
        answer = one_line(error)
    connection.send_bytes(_packed(answer))


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=False)
