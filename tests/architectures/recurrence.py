"""Checks that every mixer must pass: its parallel form, prefill and steps are one function."""

import torch
from torch import Tensor

from recall_bench.architectures import Architecture, Mixer, State
from recall_bench.kernels.plumbing.nest import map_leaves
from recall_bench.model.state_size import tensors

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def make(architecture: Architecture, dtype: torch.dtype = torch.float64) -> Mixer:
    torch.manual_seed(0)
    return architecture.mixer().to(dtype)


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scan(mixer: Mixer, x: Tensor) -> tuple[Tensor, State]:
    """Outputs and last state of the steps, one token after the other."""
    state, outputs = mixer.initial_state(x.shape[0]), []
    for token in x.unbind(1):
        y, state = mixer.step(token, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


@torch.no_grad()
def assert_forms_agree(mixer: Mixer, width: int, length: int) -> None:
    x = draw(2, length, width)
    stepped, state = Mixer.prefill(mixer, x)
    prefilled, prefilled_state = mixer.prefill(x)
    torch.testing.assert_close(mixer(x), stepped, **TOLERANCE)
    torch.testing.assert_close(prefilled, stepped, **TOLERANCE)
    torch.testing.assert_close(dict(prefilled_state), dict(state), **TOLERANCE)


def assert_step_leaves_its_state(mixer: Mixer, width: int) -> None:
    _, state = mixer.prefill(draw(2, 5, width))
    before = map_leaves(torch.clone, state)
    mixer.step(draw(2, width), state)
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def assert_finite_on_large_inputs(mixer: Mixer, width: int) -> None:
    """A float32 mixer's outputs and gradients, on inputs a thousand times too large."""
    y = mixer(1e3 * draw(2, 64, width, dtype=torch.float32))
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())


@torch.no_grad()
def assert_causal(mixer: Mixer, width: int) -> None:
    x = draw(2, 20, width)
    changed = x.clone()
    changed[:, 11:] += 1
    before, after = mixer(x), mixer(changed)
    torch.testing.assert_close(before[:, :11], after[:, :11], **TOLERANCE)
    assert not torch.allclose(before[:, 11], after[:, 11])


@torch.no_grad()
def assert_runs_in_bfloat16_and_on_meta(mixer: Mixer, width: int) -> None:
    """Last, because it changes the mixer: a prefill, then a step, keep dtypes and state shapes."""
    for device in ("cpu", "meta"):
        mixer = mixer.to(device, torch.bfloat16)
        x = torch.ones(2, 5, width, dtype=torch.bfloat16, device=device)
        y, state = mixer.prefill(x)
        y_t, after = mixer.step(x[:, 0], state)
        assert y.dtype == y_t.dtype == mixer(x).dtype == torch.bfloat16
        for old, new in zip(tensors(state), tensors(after), strict=True):
            assert new.dtype == old.dtype
            assert mixer.grows or new.shape == old.shape


def rms_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    """x over the root of its mean square, along the last axis."""
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
