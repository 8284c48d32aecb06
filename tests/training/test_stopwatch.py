import time
from types import SimpleNamespace

import pytest

from recall_bench.config import RunConfig
from recall_bench.kernels.plumbing import compilation
from recall_bench.training.loop import train
from recall_bench.training.stopwatch import Stopwatch


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Triton's settings, whose listener hears of every kernel."""
    triton = pytest.importorskip("triton")
    settings = SimpleNamespace(listener=None)
    monkeypatch.setattr(triton.knobs, "compilation", settings)
    monkeypatch.setattr(compilation, "_listening", False)
    return settings


def compiled(settings: SimpleNamespace, seconds: float, cache_hit: bool = False) -> None:
    times = SimpleNamespace(total=seconds * 1e6)
    settings.listener(src=None, metadata={}, metadata_group={}, times=times, cache_hit=cache_hit)


def test_compiled_kernels_count_and_those_from_the_cache_do_not(compiler) -> None:
    heard = []
    compiler.listener = lambda **what: heard.append(what["cache_hit"])
    compilation.listen()
    compilation.listen()
    before = compilation.seconds()
    compiled(compiler, 2.0)
    compiled(compiler, 5.0, cache_hit=True)
    assert compilation.seconds() - before == pytest.approx(2.0)
    assert heard == [False, True]


def test_a_lap_tells_compilation_apart_from_the_rest(monkeypatch) -> None:
    clock, spent = iter([10.0, 15.0, 16.0]), iter([1.0, 3.0, 9.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(compilation, "seconds", lambda: next(spent))
    watch = Stopwatch()
    assert watch.lap() == (3.0, 2.0)
    assert watch.lap() == (0.0, 1.0)  # threads compiled for longer than the lap was


def test_the_phases_of_a_run_add_up_to_its_wall_time() -> None:
    task = {"name": "mqar", "vocab_size": 32, "train": "16:2:64"}
    few = {"validation": "16:2:40", "test": "16:2:40"}
    began = time.perf_counter()
    timing = train(
        RunConfig(
            task={**task, **few},
            architecture={"name": "attention", "d_model": 16},
            training={"epochs": 2, "batch_size": 32},
        ),
        device="cpu",
    ).timing
    whole = time.perf_counter() - began
    assert timing is not None
    assert timing.setup_seconds is not None
    parts = (timing.data_seconds, timing.setup_seconds, timing.train_seconds)
    assert min(parts) > 0
    assert timing.wall_seconds == pytest.approx(sum(parts) + timing.evaluation_seconds)
    assert timing.wall_seconds < whole
    assert (timing.compile_seconds, timing.capture_seconds) == (None, None)
