import pytest
import torch

from recall_bench.bench import kernels as bench
from recall_bench.bench.kernels import markdown, plot, problems, run, tables
from recall_bench.bench.record import begin, extended
from recall_bench.errors import UserError
from recall_bench.kernels.plumbing.problem import OURS, Ceilings, Contender, Problem


@pytest.fixture
def problem(monkeypatch):
    monkeypatch.setattr(bench, "timed", lambda function, graph: (function(), 0.5)[1])

    def build(*contenders):
        x = torch.randn(8, 3)
        return Problem("square", "(8,3)", [x], contenders, {"forward": 0.1}, [x], length=2048)

    def prepare(*contenders):
        made = build(*contenders)
        return made._replace(proof=[[made.inputs[0]]])

    return prepare


def square(x):
    return x * x


def test_an_implementation_that_agrees_with_the_reference_is_timed(problem):
    (row,) = run(problem(Contender("good", square, square)))
    assert row["milliseconds"] == 0.5
    assert row["reason"] is None


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda x: x * x * 1.001, "output 0"),
        (lambda x: x * x.detach(), "gradient 0"),
        (lambda x: x * x + torch.full_like(x, float("nan")), "output 0"),
        (lambda x: x[:, 0], "does not run"),
    ],
)
def test_the_speed_of_a_wrong_kernel_is_never_shown(problem, broken, reason):
    (row,) = run(problem(Contender("bad", broken, square)))
    assert row["milliseconds"] is None
    assert reason in row["reason"]
    speeds = {"bytes_per_second": 1e12, "operations_per_second": 1e15}
    record = begin("kernels", {"device": "a device", "packages": {"torch": "2"}}, speeds)
    assert "0.5000" not in markdown(extended(record, [row]))
    (shown,) = tables([row])
    assert shown.row_count == 1


def test_every_output_of_an_operation_is_proved_and_timed(problem):
    def both(x):
        return x * x, x + 1

    made = problem(Contender("good", both, both))
    rows = run(made._replace(floors={"forward": 0.1, "forward+backward": 0.3}))
    assert [row["reason"] for row in rows] == [None, None]
    (row,) = run(problem(Contender("bad", lambda x: (x * x, x + 1.1), both)))
    assert "output 1" in row["reason"]


def test_the_reference_takes_the_inputs_of_every_problem():
    pytest.importorskip("triton")
    results = list(problems(Ceilings(1e12, 1e15), torch.device("meta")))
    names = [(problem.operation, problem.size, problem.length) for problem in results]
    assert len(set(names)) == len(names) >= 88
    for problem in results:
        ours = problem.contenders[0]
        assert (ours.name, problem.inputs[0].device.type) == (OURS, "meta")
        assert min(problem.floors.values()) > 0
        for inputs in problem.proof:
            assert [x.dim() for x in inputs] == [x.dim() for x in problem.inputs]
            result = ours.exact(*inputs)
            outputs = (result,) if isinstance(result, torch.Tensor) else result
            assert {len(y) for y in outputs} == {len(inputs[0])}


def test_training_shapes_have_a_table_of_their_own(problem):
    both = problem(Contender("good", square, square))
    rows = [*run(both), *run(both._replace(training=True))]
    assert [shown.title for shown in tables(rows)] == ["Kernels", "Training shapes"]


def test_single_products_are_asked_for_during_such_a_problem_only(problem):
    before = torch.get_float32_matmul_precision()
    seen = []

    def watched(x):
        seen.append(torch.get_float32_matmul_precision())
        return x * x

    run(problem(Contender("good", watched, square))._replace(tf32=True))
    assert set(seen) == {"high"}
    assert torch.get_float32_matmul_precision() == before


def test_times_against_length_are_drawn(problem, tmp_path):
    plot(run(problem(Contender("good", square, square))), tmp_path / "kernels.png")
    assert (tmp_path / "kernels.png").stat().st_size > 1000


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_benchmarking_without_a_gpu_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="CUDA"):
        bench.bench_kernels(tmp_path)
