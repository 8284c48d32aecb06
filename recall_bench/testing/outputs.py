"""Properties of a mixer's outputs: all its forms agree, and they are causal."""

import functools
import inspect
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from recall_bench.architectures import Mixer
from recall_bench.kernels.rows_at import rows_at
from recall_bench.testing.compare import agree, require_finite, same_layout
from recall_bench.testing.report import Failure, NotOffered
from recall_bench.testing.subject import MixerSubject, scan, seeded


def _shape(output: Any, x: Tensor, what: str) -> Tensor:
    if not isinstance(output, Tensor):
        raise Failure(f"{what} returned a {type(output).__name__}, expected a tensor")
    if output.shape != x.shape:
        raise Failure(f"{what}: shape {tuple(output.shape)}, expected {tuple(x.shape)}")
    cast = torch.is_autocast_enabled(x.device.type) and output.dtype == torch.bfloat16
    if output.dtype != x.dtype and not cast:
        raise Failure(f"{what}: dtype {output.dtype}, expected {x.dtype}")
    return output


def shapes(subject: MixerSubject) -> str:
    mixer, x = subject.mixer(torch.float32), subject.inputs(dtype=torch.float32)
    for length in (1, 2, subject.length):
        _shape(mixer(x[:, :length]), x[:, :length], f"forward at length {length}")
        if mixer.recurrent:
            y, _ = mixer.prefill(x[:, :length])
            _shape(y, x[:, :length], f"prefill at length {length}")
    if mixer.recurrent:
        y, _ = mixer.step(x[:, 0], mixer.initial_state(subject.batch))
        _shape(y, x[:, 0], "step")
    return f"{tuple(x.shape)} in and out, float32"


def forward_is_a_scan(subject: MixerSubject) -> str:
    mixer, x = subject.decoder(), subject.inputs()
    expected, _ = scan(mixer, x, mixer.initial_state(subject.batch))
    if not expected.any():
        raise Failure("every output is zero, which leaves nothing to compare")
    worst = agree(subject.mixer()(x), expected, "forward against steps", subject.tolerance)
    return f"largest relative difference {worst:.0e}"


def prefill_is_a_scan(subject: MixerSubject) -> str:
    x = subject.inputs()
    expected, _ = scan(mixer := subject.decoder(), x, mixer.initial_state(subject.batch))
    worst = 0.0
    for cut in (1, subject.length // 3, subject.length - subject.length // 6):
        mixer = subject.mixer()
        y, state = mixer.prefill(x[:, :cut])
        what = f"prefill of {cut} tokens"
        worst = max(worst, agree(y, expected[:, :cut], what, subject.tolerance))
        _, stepped = scan(mixer, x[:, :cut], mixer.initial_state(subject.batch))
        same_layout(state, stepped, f"{what}: its state against that after as many steps")
        rest, _ = scan(mixer, x[:, cut:], state)
        what = f"steps after a {what} (position counts from there)"
        worst = max(worst, agree(rest, expected[:, cut:], what, subject.tolerance))
    return f"largest relative difference {worst:.0e}"


def prefill_continues(subject: MixerSubject) -> str:
    mixer, x = subject.decoder(), subject.inputs()
    if "state" not in inspect.signature(mixer.prefill).parameters:
        raise NotOffered("its prefill takes no state")
    expected, last = scan(mixer, x, mixer.initial_state(subject.batch))
    cuts = sorted({0, 1, 2, subject.length // 2, subject.length - 1, subject.length})
    state, worst = None, 0.0
    for start, end in pairwise(cuts):
        y, state = mixer.prefill(x[:, start:end], state)
        what = f"prefill of tokens {start} to {end - 1} after those before (position counts there)"
        worst = max(worst, agree(y, expected[:, start:end], what, subject.tolerance))
    same_layout(state or {}, last, "the state after a prompt in pieces against that of steps")
    return f"cut at {', '.join(map(str, cuts[1:-1]))}; largest relative difference {worst:.0e}"


def length_does_not_matter(subject: MixerSubject) -> str:
    mixer, x = subject.mixer(), subject.inputs()
    whole = mixer(x)
    lengths = [n for n in (1, 2, 3, 17, 33, subject.length - 1) if n < subject.length]
    worst = max(
        agree(mixer(x[:, :n]), whole[:, :n], f"forward of the first {n} tokens", subject.tolerance)
        for n in lengths
    )
    return f"lengths {', '.join(map(str, lengths))}; largest relative difference {worst:.0e}"


def at_is_forward(subject: MixerSubject) -> str:
    mixer, x = subject.mixer(), subject.inputs()
    chosen = [[(7 * row + 5 * i) % subject.length for i in range(6)] for row in range(len(x))]
    twice = [[*row[:5], row[0]] for row in chosen]
    positions = torch.tensor(twice, device=x.device)
    got = mixer.at(x, positions)
    worst = agree(got, rows_at(mixer(x), positions), "at against forward", subject.tolerance)
    return f"largest relative difference {worst:.0e}"


def causal(subject: MixerSubject) -> str:
    mixer, x = subject.mixer(), subject.inputs()
    y = mixer(x)
    cuts = (1, subject.length // 2, subject.length - 1)
    for cut in cuts:
        changed = torch.cat([x[:, :cut], 3 * subject.inputs(1)[:, cut:]], 1)
        what = f"inputs changed from position {cut} on, outputs before it"
        agree(mixer(changed)[:, :cut], y[:, :cut], what, subject.tolerance)
    for cut in cuts:
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            y = mixer(leaf)[:, cut - 1].sum() + 0 * leaf.sum()  # a graph, even where y has none
            (gradient,) = torch.autograd.grad(y, leaf)
        future = gradient[:, cut:]
        what = f"gradient of the output at position {cut - 1} by inputs from position {cut} on"
        scale = float(gradient.abs().max())
        agree(future / (scale or 1), torch.zeros_like(future), what, subject.tolerance)
    return f"by perturbation and by gradient at positions {', '.join(map(str, cuts))}"


def gradients(subject: MixerSubject) -> str:
    mixer = subject.mixer(torch.float32).train()
    x = subject.inputs(dtype=torch.float32).requires_grad_()
    weights = subject.inputs(1, dtype=torch.float32)
    with torch.enable_grad(), seeded(subject.seed):
        (mixer(x) * weights).sum().backward()
    count = 0
    for name, parameter in [("the input", x), *mixer.named_parameters()]:
        if not parameter.requires_grad:
            continue
        count += 1
        if parameter.grad is None:
            raise Failure(f"{name} gets no gradient")
        require_finite(parameter.grad, f"gradient of {name}", ())
        if not parameter.grad.any():
            raise Failure(f"the gradient of {name} is zero everywhere: outputs do not depend on it")
    return f"{count - 1} parameters and the input"


def rows_are_independent(subject: MixerSubject) -> str:
    mixer, x = subject.mixer(), subject.inputs()
    whole = mixer(x)
    few = x[:, :8]
    stepped = scan(mixer, few, mixer.initial_state(subject.batch))[0] if mixer.recurrent else None
    for row in range(subject.batch):
        one = slice(row, row + 1)
        what = f"forward of row {row} alone against the same row in a batch"
        agree(mixer(x[one]), whole[one], what, subject.tolerance)
        if stepped is not None:
            alone, _ = scan(mixer, few[one], mixer.initial_state(1))
            agree(alone, stepped[one], what.replace("forward", "steps"), subject.tolerance)
    changed = torch.cat([subject.inputs(1)[:1], x[1:]])
    mixer.train()
    with seeded(subject.seed):
        before = mixer(x)
    with seeded(subject.seed):
        after = mixer(changed)
    what = "row 0 changed, the other rows of forward in training mode"
    agree(after[1:], before[1:], what, subject.tolerance)
    return f"{subject.batch} rows, together and alone"


def bf16(subject: MixerSubject) -> str:
    mixer, x = subject.mixer(torch.bfloat16), subject.inputs(dtype=torch.bfloat16)
    autocast = functools.partial(torch.autocast, subject.device.type, torch.bfloat16)
    with autocast(enabled=False):
        require_finite(_shape(mixer(x), x, "forward in bfloat16"), "forward in bfloat16")
        if mixer.recurrent:
            _bf16_decoding(mixer, x[:, :8])
    trained = subject.mixer(torch.float32).train()
    x = subject.inputs(dtype=torch.float32).requires_grad_()
    with torch.enable_grad(), autocast(), seeded(subject.seed):
        loss = trained(x).float().square().sum()
    loss.backward()
    for name, parameter in [("the input", x), *trained.named_parameters()]:
        if parameter.grad is not None:
            require_finite(parameter.grad, f"gradient of {name} under bfloat16 autocast", ())
    forms = "forward, prefill, step" if mixer.recurrent else "forward"
    return f"{forms}, and training under autocast"


def _bf16_decoding(mixer: Mixer, x: Tensor) -> None:
    y, prefilled = mixer.prefill(x)
    require_finite(_shape(y, x, "prefill in bfloat16"), "prefill in bfloat16")
    y, state = scan(mixer, x, mixer.initial_state(len(x)))
    require_finite(_shape(y, x, "step in bfloat16"), "step in bfloat16")
    same_layout(prefilled, state, "bfloat16, the state of prefill against that of steps")


def repeatable(subject: MixerSubject) -> str:
    mixers = []
    for _ in range(2):
        with seeded(subject.seed):
            mixers.append(subject.make().to(subject.device))
    first, second = (mixer.state_dict() for mixer in mixers)
    for name, tensor in first.items():
        if not torch.equal(tensor, second[name]):
            raise Failure(f"two mixers made from one seed differ in {name}")
    x = subject.inputs(dtype=torch.float32)
    outputs = []
    for mixer in (mixers[0].eval(), mixers[0], mixers[1].eval()):
        outputs.append(mixer(x))
    agree(outputs[1], outputs[0], "forward twice, second against first", 0.0)
    agree(outputs[2], outputs[0], "forward of a second mixer made from the same seed", 0.0)
    return "weights and outputs, bit for bit"
