import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch

from recall_bench.errors import UserError
from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.short_conv import short_conv

CPU = torch.zeros(1)
CUDA = SimpleNamespace(device=torch.device("cuda"))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.setattr(dispatch, "_problems", {})
    dispatch.reset()
    yield
    dispatch.reset()


@pytest.fixture
def fast(monkeypatch):
    """A backend "fast" of short_conv that comes before the reference."""
    name = "recall_bench.kernels.short_conv.fast"
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.short_conv = lambda x, *args, **kwargs: x + 1
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(dispatch, "BACKENDS", ("fast", "reference"))
    return module


def test_auto_takes_the_reference_away_from_cuda(fast):
    assert dispatch.resolve("short_conv", "auto", CPU) == "reference"


def test_auto_takes_the_preferred_backend_on_cuda(fast):
    assert dispatch.resolve("short_conv", "auto", CUDA) == "fast"


def test_auto_passes_over_a_backend_that_cannot_run_this_tensor(fast):
    fast.unavailable = lambda op, tensor: "it needs a newer device"
    assert dispatch.resolve("short_conv", "auto", CUDA) == "reference"


def test_auto_passes_over_a_backend_that_lacks_the_operation(fast):
    assert dispatch.resolve("wkv", "auto", CUDA) == "reference"


def test_auto_passes_over_a_backend_that_takes_no_initial_state(fast):
    assert dispatch.resolve("short_conv", "auto", CUDA, stateful=True) == "reference"
    fast.short_conv = lambda x, *args, initial_state=None: x + 1
    assert dispatch.resolve("short_conv", "auto", CUDA, stateful=True) == "fast"


def test_a_backend_asked_for_by_name_is_refused_a_state_that_it_cannot_take(fast):
    x, state = torch.zeros(1, 3, 2), torch.zeros(1, 2, 2)
    with pytest.raises(UserError, match=r"'fast' cannot run short_conv: .* no initial state"):
        short_conv(x, torch.zeros(2, 3), initial_state=state, backend="fast")
    assert torch.equal(short_conv(x, torch.zeros(2, 3), initial_state=state), x)


def test_one_token_after_others_takes_the_step_of_the_backend(fast):
    fast.short_conv = lambda x, *args, initial_state=None: x + 1
    fast.short_conv_step = lambda x, *args, initial_state: x + 2
    weight, state = torch.zeros(2, 3), torch.zeros(1, 2, 2)
    for length, initial_state, added in ((1, state, 2), (1, None, 1), (2, state, 1)):
        x = torch.zeros(1, length, 2)
        y = short_conv(x, weight, initial_state=initial_state, backend="fast")
        assert torch.equal(y, x + added)


def test_the_backend_asked_for_runs(fast):
    x = torch.zeros(1, 3, 2)
    assert torch.equal(short_conv(x, torch.zeros(2, 3), backend="fast"), x + 1)
    assert dispatch.used() == {"short_conv": "fast"}


def test_the_environment_overrides_auto_but_not_an_explicit_choice(fast, monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "fast")
    assert dispatch.resolve("short_conv", "auto", CPU) == "fast"
    assert dispatch.resolve("short_conv", "reference", CPU) == "reference"


def test_an_unavailable_backend_is_refused_with_its_reason_and_the_available_ones(fast):
    fast.unavailable = lambda op, tensor: f"it does not run on {tensor.device.type}"
    with pytest.raises(UserError, match=r"'fast' cannot run short_conv: it does not run on cpu\."):
        dispatch.resolve("short_conv", "fast", CPU)
    with pytest.raises(UserError, match=r"Available here: reference\."):
        dispatch.resolve("short_conv", "fast", CPU)
    assert dispatch.used() == {}


def test_a_backend_that_nobody_wrote_is_refused(monkeypatch):
    monkeypatch.setattr(dispatch, "BACKENDS", ("cobol", "reference"))
    with pytest.raises(UserError, match="nobody has written it"):
        dispatch.resolve("short_conv", "cobol", CPU)


def test_the_environment_says_nothing_about_operations_that_lack_its_backend(fast, monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "fast")
    assert dispatch.resolve("wkv", "auto", CUDA) == "reference"
    with pytest.raises(UserError, match="'fast' cannot run wkv: nobody has written"):
        dispatch.resolve("wkv", "fast", CUDA)


def test_a_misspelt_backend_gets_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean 'reference'"):
        dispatch.resolve("short_conv", "refrence", CPU)


def test_a_misspelt_environment_variable_is_named(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "tritn")
    with pytest.raises(UserError, match=r"RECALL_BENCH_KERNELS 'tritn'.*'triton'"):
        dispatch.resolve("short_conv", "auto", CPU)


def test_meta_tensors_take_the_reference_and_leave_no_trace(fast, monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "fast")
    assert dispatch.resolve("short_conv", "auto", torch.zeros(1, device="meta")) == "reference"
    assert dispatch.used() == {}


def test_used_names_every_backend_since_the_last_reset(fast):
    dispatch.resolve("short_conv", "reference", CPU)
    dispatch.resolve("short_conv", "fast", CPU)
    dispatch.resolve("wkv", "reference", CPU)
    assert dispatch.used() == {"short_conv": "fast+reference", "wkv": "reference"}
    dispatch.reset()
    assert dispatch.used() == {}


def test_operations_lists_the_folders():
    assert {"taylor_attention", "sliding_window_attention", "short_conv"} <= set(
        dispatch.operations()
    )


@pytest.mark.parametrize("op", dispatch.operations())
def test_every_operation_has_a_reference(op):
    assert dispatch.why_not(op, "reference", CPU) is None


def test_an_operation_compiles_into_one_graph_and_is_recorded():
    compiled = torch.compile(short_conv, backend="eager", fullgraph=True)
    x, weight = torch.randn(1, 5, 2), torch.randn(2, 3)
    torch.testing.assert_close(compiled(x, weight), short_conv(x, weight))
    dispatch.reset()
    compiled(x, weight)
    assert dispatch.used() == {"short_conv": "reference"}
