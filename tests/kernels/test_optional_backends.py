"""mamba-ssm and flash-attn: stand-ins record their arguments, the real packages run on a GPU."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from comparing import DEVICE, assert_close, check, on_gpu, random

from recall_bench.errors import UserError
from recall_bench.kernels.attention import attention
from recall_bench.kernels.attention import reference as attention_reference
from recall_bench.kernels.plumbing import dispatch, optional
from recall_bench.kernels.selective_scan import reference as scan_reference
from recall_bench.kernels.selective_scan import selective_scan
from recall_bench.kernels.sliding_window_attention import reference as window_reference
from recall_bench.kernels.sliding_window_attention import sliding_window_attention

BACKENDS = (
    "selective_scan.mamba_ssm",
    "attention.flash_attn",
    "sliding_window_attention.flash_attn",
)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Import our modules around the packages anew in each test."""
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.setattr(dispatch, "_problems", {})
    dispatch.reset()
    yield
    dispatch.reset()
    for name in BACKENDS:
        sys.modules.pop(f"recall_bench.kernels.{name}", None)


def install(monkeypatch, name, **members):
    """A module that looks installed."""
    for parent in [name[:i] for i, letter in enumerate(name) if letter == "."] + [name]:
        module = ModuleType(parent)
        module.__spec__, module.__path__ = ModuleSpec(parent, None), []
        monkeypatch.setitem(sys.modules, parent, module)
    vars(module).update(members)


def on_any_device(monkeypatch):
    monkeypatch.setattr(optional, "unavailable_for", lambda *_: None)


def scan_inputs(**knobs):
    u, delta = (random(2, 5, 3, seed=i, **knobs) for i in range(2))
    A, (B, C) = -random(3, 4, seed=2).exp(), (random(2, 5, 4, seed=i, **knobs) for i in (3, 4))
    D, bias, z = random(3, seed=5), random(3, seed=6), random(2, 5, 3, seed=7, **knobs)
    return u, delta, A, B, C, D, z, bias


def stand_in_scan(u, delta, A, B, C, D, z, bias, softplus, return_state):
    """mamba-ssm's interface, (batch, channels, length), by our reference."""
    u, delta, B, C, z = (x.transpose(1, 2) for x in (u, delta, B, C, z))
    run = scan_reference.selective_scan(u, delta, A, B, C, D, z, bias, softplus, None, True)
    return (run[0].transpose(1, 2), run[1]) if return_state else run[0].transpose(1, 2)


@pytest.fixture
def mamba(monkeypatch):
    on_any_device(monkeypatch)
    name = "mamba_ssm.ops.selective_scan_interface"
    install(monkeypatch, name, selective_scan_fn=stand_in_scan)


@pytest.fixture
def flash(monkeypatch):
    """flash-attn's interface, by our references; returns the list of requested windows."""
    on_any_device(monkeypatch)
    windows = []

    def flash_attn_func(q, k, v, causal, window_size=(-1, -1)):
        assert causal
        windows.append(window_size)
        if window_size == (-1, -1):
            return attention_reference.attention(q, k, v)
        return window_reference.sliding_window_attention(q, k, v, window_size[0] + 1)

    install(monkeypatch, "flash_attn", flash_attn_func=flash_attn_func)
    return windows


def test_mamba_ssm_gets_its_own_layout_and_gives_ours_back(mamba):
    tensors = scan_inputs()
    y, state = selective_scan(*tensors, True, return_state=True, backend="mamba-ssm")
    exact, exact_state = scan_reference.selective_scan(*tensors, True, None, True)
    assert_close("y", y, exact, 1e-6)
    assert_close("state", state, exact_state, 1e-6)
    assert dispatch.used()["selective_scan"] == "mamba-ssm"


def test_mamba_ssm_refuses_inputs_that_it_would_get_wrong(mamba):
    u, *rest = scan_inputs()
    state = torch.zeros(2, 3, 4)
    with pytest.raises(UserError, match=r"'mamba-ssm' cannot run selective_scan: .* no initial"):
        selective_scan(u, *rest, initial_state=state, backend="mamba-ssm")
    with pytest.raises(UserError, match="no gradient for the last state"):
        selective_scan(u.requires_grad_(), *rest, return_state=True, backend="mamba-ssm")


def test_a_given_state_takes_another_backend_where_the_environment_names_mamba_ssm(
    mamba, monkeypatch
):
    monkeypatch.setenv(dispatch.VARIABLE, "mamba-ssm")
    tensors, state = scan_inputs(), torch.ones(2, 3, 4, device=DEVICE)
    dispatch.reset()
    y = selective_scan(*tensors, True, initial_state=state)
    assert_close("y", y, scan_reference.selective_scan(*tensors, True, state), 1e-5)
    assert dispatch.used()["selective_scan"] == ("triton" if DEVICE == "cuda" else "reference")


def test_an_empty_scan_never_reaches_mamba_ssm(mamba):
    tensors = [x[:0] if x.dim() == 3 else x for x in scan_inputs()]
    assert selective_scan(*tensors, backend="mamba-ssm").shape == (0, 5, 3)


def test_flash_attn_counts_the_keys_before_the_current_one(flash):
    q, k, v = (random(2, 6, 2, 8, seed=i) for i in range(3))
    y, state = sliding_window_attention(q, k, v, 3, return_state=True, backend="flash-attn")
    exact, ring = window_reference.sliding_window_attention(q, k, v, 3, return_state=True)
    assert_close("y", y, exact, 1e-6)
    assert all(torch.equal(a, b) for a, b in zip(state, ring, strict=True))
    assert flash == [(2, 0)]


def test_flash_attn_runs_full_attention(flash):
    q, k, v = (random(2, 6, 2, 8, seed=i) for i in range(3))
    y, state = attention(q, k, v, return_state=True, backend="flash-attn")
    assert_close("y", y, attention_reference.attention(q, k, v), 1e-6)
    assert torch.equal(state["keys"], k)
    assert torch.equal(state["values"], v)
    assert flash == [(-1, -1)]


def test_the_environment_selects_a_package_where_it_has_the_operation(flash, monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "flash-attn")
    q = torch.zeros(1, 2, 1, 8)
    assert dispatch.resolve("sliding_window_attention", "auto", q) == "flash-attn"
    assert dispatch.resolve("taylor_attention", "auto", q) == "reference"
    given = dispatch.resolve("sliding_window_attention", "auto", q, stateful=True)
    assert given == "reference"


@pytest.mark.parametrize(
    ("op", "backend"), [("selective_scan", "mamba-ssm"), ("attention", "flash-attn")]
)
def test_a_missing_package_is_refused_by_the_name_of_its_extra(op, backend, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "." not in name else True)
    with pytest.raises(
        UserError, match=rf"{backend} is not installed; the extra recall-bench\[{backend}\]"
    ):
        dispatch.resolve(op, backend, torch.zeros(1, 1, 1, 8))


def test_a_package_without_its_compiled_half_is_refused_with_its_own_words(monkeypatch):
    install(monkeypatch, "mamba_ssm")

    def broken(name, package=None):
        if name.startswith("mamba_ssm"):
            raise RuntimeError("no module named selective_scan_cuda")
        return real(name, package)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(UserError, match="mamba-ssm is installed but broken: no module named sel"):
        dispatch.resolve("selective_scan", "mamba-ssm", torch.zeros(1, 1, 1))


def test_a_missing_package_is_looked_for_once(monkeypatch):
    searches = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: searches.append(name))
    for _ in range(3):
        assert dispatch.why_not("attention", "flash-attn", torch.zeros(1)) == dispatch.NOT_WRITTEN
    assert len(searches) == 1


def test_packages_run_on_cuda_tensors_of_their_dtypes_only():
    cpu, wide = torch.zeros(1), SimpleNamespace(device=torch.device("cuda"), dtype=torch.float64)
    assert (
        optional.unavailable_for(cpu, (torch.float16,)) == "it needs a CUDA tensor, not one on cpu"
    )
    reason = optional.unavailable_for(wide, (torch.bfloat16, torch.float16))
    assert reason == "it takes bfloat16, float16, not float64"


def test_ours_come_first_and_the_reference_last():
    assert dispatch.BACKENDS[0] == "triton"
    assert dispatch.BACKENDS[-1] == "reference"


def installed(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"needs the package {name}"
    )


@on_gpu
@installed("mamba_ssm")
@pytest.mark.parametrize("length", [1, 65, 1000])
def test_on_a_gpu_mamba_ssm_matches_the_reference(length):
    u, delta, z = (random(2, length, 64, seed=i) for i in range(3))
    B, C = (random(2, length, 16, seed=i) for i in (3, 4))
    A, D, bias = -random(64, 16, seed=5).exp(), random(64, seed=6), random(64, seed=7)
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")

    check(
        lambda *x: selective_scan(*x, True, backend="mamba-ssm"),
        lambda *x: scan_reference.selective_scan(*x, True),
        (u, delta, A, B, C, D, z, bias),
        1e-5,
        names,
    )


@on_gpu
@installed("flash_attn")
@pytest.mark.parametrize("length", [1, 65, 1000])
def test_on_a_gpu_flash_attn_matches_the_references(length):
    tensors = [random(2, length, 3, 64, seed=i, dtype=torch.bfloat16) for i in range(3)]
    check(
        lambda *x: attention(*x, backend="flash-attn"),
        attention_reference.attention,
        tensors,
        1e-2,
        "qkv",
    )
    check(
        lambda *x: sliding_window_attention(*x, 64, backend="flash-attn"),
        lambda *x: window_reference.sliding_window_attention(*x, 64),
        tensors,
        1e-2,
        "qkv",
    )
