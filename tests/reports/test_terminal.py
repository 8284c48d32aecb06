from rich.console import Console
from synthetic_runs import run, table

from recall_bench.reports.terminal import points_tables


def printed(*rows):
    console = Console(width=80, record=True)
    console.print(points_tables(table(*rows)))
    return console.export_text()


def line_of(name, text):
    (line,) = [line for line in text.splitlines() if f" {name} " in line]
    return line


def test_a_point_says_how_many_rates_and_seeds_competed():
    rates = [run(learning_rate=rate, test=test) for rate, test in ((1e-3, 0.9), (1e-2, 0.5))]
    text = printed(*rates)
    assert line_of("based", text).split()[-2:] == ["0.001", "1/2×1"]  # noqa: RUF001
    assert "waits for runs" not in text
    waiting = printed(*rates, run(learning_rate=3e-3, test=0.88), run(seed=1, test=0.9))
    assert line_of("based", waiting).split()[-1] == "2/3×1…"  # noqa: RUF001
    assert "… a rate in the race waits for runs" in waiting


def test_what_few_seeds_span_is_called_their_range():
    rows = [run(seed=seed, test=0.5 + 0.01 * seed) for seed in range(6)]
    assert " range " in printed(*rows[:5])
    assert "95%" not in printed(*rows[:5])
    assert "95% interval" in printed(*rows)
    both = printed(*rows, run("mamba", 0.3), run("mamba", 0.4, seed=1))
    assert "range, 95%*" in both
    assert "0.300–0.400 " in both  # noqa: RUF001
    assert line_of("based", both).split()[4].endswith("*")


def test_a_star_within_the_noise_of_a_smaller_point_is_hollow():
    text = printed(run("mamba", 0.6, state_bytes=10), run("based", 0.62, state_bytes=20))
    assert line_of("mamba", text).startswith("★")
    assert line_of("based", text).startswith("☆")
    assert "☆" not in printed(run("mamba", 0.6, state_bytes=10))


def test_a_report_says_how_many_seeds_learned_and_that_runs_failed():
    rows = [run(seed=seed, test=score) for seed, score in enumerate((0.55, 0.54, 0.06))]
    text = printed(*rows, run("mamba", seed=0, status="failed"))
    assert "2/3" in line_of("based", text).split()
    assert "of 3 seeds 2 learned" in text
    assert line_of("mamba", text).split()[2:4] == ["-", "0!"]
    assert "runs failed and are not averaged" in text


def test_a_point_whose_loss_still_fell_is_marked_and_the_mark_explained():
    rows = [run("based") | {"late_fall": 0.2}, run("mamba", test=0.4) | {"late_fall": 0.0}]
    shown = printed(*rows)
    assert "0.500↓" in shown
    assert "0.400↓" not in shown
    assert "↓ not converged" in shown
    assert "↓" not in printed(*rows[1:])
