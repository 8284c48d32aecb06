"""H3 on Triton's kernels: the parallel form against the recurrence, in float64."""

import copy

import pytest
import torch
from comparing import DEVICE, assert_close, on_gpu, random

pytest.importorskip("triton")

from recall_bench.architectures.state_space.h3 import H3
from recall_bench.kernels.plumbing import dispatch

OPERATIONS = {"long_conv": "triton", "outer": "triton", "s4d_kernel": "triton"}


@pytest.fixture(autouse=True)
def on_the_kernels(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    dispatch.reset()


def compare(width, d_state, head_dim, batch, length):
    torch.manual_seed(0)
    mixer = H3(d_model=width, d_state=d_state, head_dim=head_dim).mixer().to(DEVICE)
    exact = copy.deepcopy(mixer).double()
    x, weight = (random(batch, length, width, seed=seed) for seed in (0, 1))
    y = mixer(x)
    used = OPERATIONS | ({"short_conv": "triton"} if d_state <= 8 else {})
    assert used.items() <= dispatch.used().items()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(dispatch.VARIABLE, "reference")
        state, outputs = exact.initial_state(batch), []
        for token in x.double().unbind(1):
            out, state = exact.step(token, state)
            outputs.append(out)
    expected = torch.stack(outputs, 1)
    assert_close("output", y, expected, 1e-5)
    parameters = dict(mixer.named_parameters())
    results = torch.autograd.grad((weight * y).sum(), list(parameters.values()))
    wanted = torch.autograd.grad((weight * expected).sum(), list(exact.parameters()))
    for name, got, right in zip(parameters, results, wanted, strict=True):
        assert_close(f"gradient of {name}", got, right, 5e-5)


@pytest.mark.parametrize("d_state", [4, 10])
@pytest.mark.parametrize("head_dim", [1, 2])
def test_outputs_and_gradients_are_those_of_the_recurrence(d_state, head_dim):
    compare(4, d_state, head_dim, batch=2, length=19)


@on_gpu
@pytest.mark.parametrize(("d_state", "head_dim"), [(4, 1), (4, 4), (16, 1), (32, 2), (64, 1)])
@pytest.mark.parametrize("length", [1, 65, 128, 600])
def test_on_a_gpu_outputs_and_gradients_are_those_of_the_recurrence(d_state, head_dim, length):
    compare(128, d_state, head_dim, batch=4, length=length)


@on_gpu
@pytest.mark.parametrize(("d_state", "head_dim"), [(4, 1), (32, 2)])
def test_on_a_gpu_autocast_changes_outputs_by_its_rounding_only(d_state, head_dim):
    torch.manual_seed(0)
    mixer = H3(d_model=128, d_state=d_state, head_dim=head_dim).mixer().to(DEVICE)
    x = random(4, 128, 128, seed=0)
    with torch.autocast(DEVICE, torch.bfloat16):
        y = mixer(x)
    assert_close("output", y, mixer(x), 3e-2)
