"""Properties of a mixer's state: it is complete, and its measured size is the true one."""

import torch
from torch import Tensor, nn

from recall_bench.architectures import Mixer
from recall_bench.model.state_size import state_bytes
from recall_bench.testing import another_process
from recall_bench.testing.compare import (
    agree,
    clone,
    equal,
    layout,
    named_tensors,
    same_layout,
)
from recall_bench.testing.report import Failure, NotOffered
from recall_bench.testing.subject import MixerSubject, scan

AXES = ("row", "channel")
MODULE_INTERNALS = frozenset(vars(nn.Module()))


def batch_first(subject: MixerSubject) -> str:
    mixer, x = subject.decoder(), subject.inputs(length=4)
    start = mixer.initial_state(subject.batch)
    states = {
        "initial_state": start,
        "step": scan(mixer, x, start)[1],
        "prefill": mixer.prefill(x)[1],
    }
    for origin, state in states.items():
        for name, tensor in named_tensors(state).items():
            if tensor.ndim == 0 or tensor.shape[0] != subject.batch:
                raise Failure(
                    f"after {origin}, {name} has shape {tuple(tensor.shape)}, expected "
                    f"({subject.batch}, …) for a batch of {subject.batch}"
                )
    return ", ".join(f"{name} {what}" for name, what in layout(states["step"]).items())


def size_is_as_declared(subject: MixerSubject) -> str:
    mixer, x = subject.decoder(), subject.inputs()
    state = mixer.initial_state(1)
    start = state
    sizes = [state_bytes(state)]
    for token in x[:1].unbind(1):
        _, state = mixer.step(token, state)
        sizes.append(state_bytes(state))
        if not mixer.grows:
            tokens = len(sizes) - 1
            same_layout(state, start, f"state after {tokens} tokens, not declared as growing")
    if mixer.grows and not sizes[-1] > sizes[0]:
        raise Failure(
            f"declares grows = True, but carries {sizes[0]:,} bytes before the first token and "
            f"{sizes[-1]:,} after {len(sizes) - 1}"
        )
    growth = f"grows as declared, from {sizes[0]:,} to" if mixer.grows else "constant,"
    return f"{growth} {sizes[-1]:,} bytes for one sequence over {len(sizes) - 1} tokens"


def bytes_are_honest(subject: MixerSubject) -> str:
    """The frontier shows bytes from prefill; decoding must carry the same for every row."""
    mixer, x = subject.decoder(torch.float32), subject.inputs(dtype=torch.float32)
    cut = subject.length // 2
    sizes = []
    for rows in (1, subject.batch):
        _, prefilled = mixer.prefill(x[:rows, :cut])
        _, stepped = scan(mixer, x[:rows, :cut], mixer.initial_state(rows))
        same_layout(
            prefilled, stepped, f"state after {cut} tokens, of prefill against that of steps"
        )
        sizes.append(state_bytes(prefilled))
    if sizes[1] != subject.batch * sizes[0]:
        raise Failure(
            f"{subject.batch} sequences carry {sizes[1]:,} bytes, expected {subject.batch} times "
            f"the {sizes[0]:,} of one"
        )
    return f"{sizes[0]:,} bytes for one sequence in float32 after {cut} tokens"


def state_holds_everything(subject: MixerSubject) -> str:
    x, other = subject.inputs(), subject.inputs(1)
    reference = subject.decoder()
    expected, _ = scan(reference, x, reference.initial_state(subject.batch))
    _handed_over(subject, x, expected)
    _interleaved(subject, x, other, expected)
    if another_process.possible(subject):
        another_process.continues(subject)
        elsewhere = ", continued in another process"
    else:
        elsewhere = ""
    return (
        "handed over to fresh mixers, copied every token, and interleaved with another sequence"
        + elsewhere
    )


def _handed_over(subject: MixerSubject, x: Tensor, expected: Tensor) -> None:
    """Every few tokens another mixer with equal weights continues from a copy of the state."""
    mixer = subject.mixer()
    state = mixer.initial_state(subject.batch)
    for position, token in enumerate(x.unbind(1)):
        if position % 7 == 3:
            mixer = subject.mixer()
        before = _attributes(mixer)
        y, state = mixer.step(token, clone(state))
        changed = _changed(before, _attributes(mixer))
        what = f"step {position}, from a copy of the state by a fresh mixer{changed}"
        agree(y, expected[:, position], what, subject.tolerance, AXES)


def _interleaved(subject: MixerSubject, x: Tensor, other: Tensor, expected: Tensor) -> None:
    """Two sequences take turns on one mixer, with a forward pass in between."""
    mixer = subject.mixer()
    state, second = mixer.initial_state(subject.batch), mixer.initial_state(subject.batch)
    for position in range(min(24, subject.length)):
        y, state = mixer.step(x[:, position], state)
        what = f"step {position}, with another sequence decoded in turns by the same mixer"
        agree(y, expected[:, position], what, subject.tolerance, AXES)
        _, second = mixer.step(other[:, position], second)
        if position == 8:
            mixer(other)


def _attributes(mixer: Mixer) -> dict[str, object]:
    """Attributes of the modules besides parameters: identity, and version or text, of each."""
    return {
        f"{path}.{name}".lstrip("."): (id(value), getattr(value, "_version", repr(value)))
        for path, module in mixer.named_modules()
        for name, value in {**vars(module), **dict(module.named_buffers(recurse=False))}.items()
        if name not in MODULE_INTERNALS
    }


def _changed(before: dict[str, object], after: dict[str, object]) -> str:
    names = [name for name in after if before.get(name) != after[name]]
    return f" (step changed {', '.join(f'self.{name}' for name in names)})" if names else ""


def step_leaves_its_state(subject: MixerSubject) -> str:
    mixer, x = subject.decoder(), subject.inputs()
    warm = min(5, subject.length - 2)
    _, state = scan(mixer, x[:, :warm], mixer.initial_state(subject.batch))
    token = x[:, warm].clone()
    state_copy = clone(state)
    first, after = mixer.step(token, state)
    after_copy = clone(after)
    mixer.step(x[:, warm + 1], after)
    for name, copy, tensors in [
        ("the state", state_copy, state),
        ("the state it returned", after_copy, after),
    ]:
        if not equal(copy, tensors):
            changed = [
                path
                for path, tensor in named_tensors(tensors).items()
                if not equal({"": tensor}, {"": named_tensors(copy)[path]})
            ]
            raise Failure(f"step changed {name} in place: {', '.join(changed)}")
    if not torch.equal(token, x[:, warm]):
        raise Failure("step changed its input in place")
    again, _ = mixer.step(token, state)
    agree(again, first, "the same step from the same state, twice", 0.0, AXES)
    return "state and input unchanged, and repeating a step gives the same output"


def meta_device(subject: MixerSubject) -> str:
    length = subject.length // 2
    real = subject.decoder(torch.float32)
    if not real.runs_on_meta:
        raise NotOffered(
            "the mixer does not run on the meta device; a real device measures its state"
        )
    _, state = real.prefill(subject.inputs(length=length, dtype=torch.float32)[:1])
    with torch.device("meta"):
        mixer = subject.make().eval()
        x = torch.empty(1, length, subject.width)
    y, shapes = mixer.prefill(x)
    if y.shape != x.shape:
        raise Failure(f"prefill on the meta device: {tuple(y.shape)}, expected {tuple(x.shape)}")
    same_layout(shapes, state, "state on the meta device against the real one")
    return f"{state_bytes(shapes):,} bytes for one sequence after {length} tokens"
