import json
from pathlib import Path
from typing import Any

import pytest
from official_data import pages, passages, write_rows
from tiny_models import FAMILIES, save_tiny_model

from recall_bench.evals.harness.evaluate import EXAMPLES, Request, evaluate
from recall_bench.frontier import frontier, points
from recall_bench.reports.frontier_figure import plot_frontier
from recall_bench.reports.terminal import points_tables
from recall_bench.store.record import EvaluationRecord, Record
from recall_bench.store.runs import ResultStore

lm_eval = pytest.importorskip("lm_eval", reason="needs the extra recall-bench[eval]")

COUNT = 4
OFFICIAL = {
    "hazyresearch/based-swde-v2": "swde",
    "hazyresearch/based-fda": "fda",
    "hazyresearch/based-squad": "squad_completion",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {name: save_tiny_model(name, root / name) for name in (*FAMILIES, "mistral")}


def answered(model: str, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows, every second answer replaced by what the model will say, in other letters.

    A model with random weights is never right otherwise, and 0 equals 0 whatever is compared.
    """
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model, device="cpu", batch_size=1)
    until = {"until": ["\n"], "max_gen_toks": 48}
    requests = [Instance("generate_until", {}, (row["text"].strip(), until), 0) for row in rows]
    said = lm.generate_until(requests, disable_tqdm=True)
    return [
        {**row, "value": f" {output[1:4].swapcase()}"} if number % 2 else row
        for number, (row, output) in enumerate(zip(rows, said, strict=True))
    ]


@pytest.fixture(scope="module")
def task_manager() -> Any:
    """The harness's own definitions of the three tasks; indexing its thousands takes long."""
    from lm_eval.tasks import TaskManager

    tasks = Path(lm_eval.__file__).parent / "tasks"
    paths = [tasks / name for name in OFFICIAL.values()]
    return TaskManager(include_defaults=False, include_path=paths)


def harness_alone(
    model: str,
    tasks: list[str],
    rows: dict[str, Any],
    task_manager: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """lm-evaluation-harness as it is, but that the hub's data sets come from ``rows``."""
    import datasets

    def load(path: str, name: str, **_: Any) -> Any:
        assert name == "default"
        return {"validation": datasets.Dataset.from_list(rows[OFFICIAL[path]])}

    with monkeypatch.context() as patch:
        patch.setattr("datasets.load_dataset", load)
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # runs pip
        return lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": model},
            tasks=tasks,
            task_manager=task_manager,
            device="cpu",
            batch_size=1,
            limit=COUNT,
            bootstrap_iters=0,
        )


@pytest.mark.parametrize(
    ("family", "tasks"),
    [("llama", ["swde", "fda", "squad_completion"]), ("mamba", ["swde"]), ("rwkv", ["fda"])],
)
def test_scores_and_outputs_are_those_of_the_harness_itself(
    family: str,
    tasks: list[str],
    models: dict[str, str],
    task_manager: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {"swde": pages(5), "fda": pages(5)[::-1], "squad_completion": passages(5)}
    rows = {task: answered(models[family], made[task]) for task in tasks}
    for task in tasks:
        write_rows(tmp_path / "data" / f"{task}.jsonl", rows[task])
    theirs = harness_alone(models[family], tasks, rows, task_manager, monkeypatch)

    store = ResultStore(tmp_path / "runs")
    request = Request(
        model=models[family], tasks=tasks, data=tmp_path / "data", limit=COUNT, device="cpu"
    )
    records = evaluate(request, store)

    for task, record in zip(tasks, records, strict=True):
        assert record.test_accuracy == theirs["results"][task]["contains,none"]
        assert 0.4 < record.test_accuracy < 1
        assert record.versions["task"] == theirs["versions"][task]
        ours = examples(store, record)
        samples = sorted(theirs["samples"][task], key=lambda sample: sample["doc_id"])
        assert [line["prompt"] for line in ours] == [s["arguments"][0][0] for s in samples]
        assert [line["output"] for line in ours] == [s["filtered_resps"][0] for s in samples]
        assert [line["contains"] for line in ours] == [s["contains"] for s in samples]


def examples(store: ResultStore, record: Record) -> list[dict[str, Any]]:
    text = (store.directory(record.run_id) / EXAMPLES).read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def store(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    """Four models on the same four pages."""
    root = tmp_path_factory.mktemp("store")
    write_rows(root / "based-swde-v2.jsonl", pages(4))
    kept = ResultStore(root / "runs")
    for model in models.values():
        evaluate(Request(model=model, tasks=["swde"], data=root, device="cpu"), kept)
    return kept


def evaluations(store: ResultStore) -> dict[str, EvaluationRecord]:
    """The records of a store by the name of the model."""
    found = [record for record in store.records() if isinstance(record, EvaluationRecord)]
    return {record.model["name"]: record for record in found}


def test_state_bytes_are_those_of_the_cache_after_the_longest_prompt(store: ResultStore) -> None:
    records = evaluations(store)
    longest = max(line["prompt_tokens"] for line in examples(store, records["llama"]))
    by_hand = {
        "llama": 2 * 2 * (longest + 1) * 16 * 4,  # layers, keys and values, tokens, width, float32
        # Of a window of 16 the next token brings the last; a counter is carried as well.
        "mistral": 2 * (2 * 15 * 16 * 4 + 8),
        "mamba": 2 * (64 * 4 + 64 * 8) * 4,  # layers, convolution and state
        "rwkv": 5 * 32 * 2 * 4,  # tensors, width, layers
    }
    for name, expected in by_hand.items():
        memory = records[name].memory
        assert memory is not None
        assert memory.state_bytes == expected, name
        assert memory.state_bytes == sum(layer.bytes for layer in memory.layers)
        assert (memory.state_length, memory.state_dtype) == (longest + 1, "float32")


def test_a_record_says_what_was_asked_and_what_answered(store: ResultStore) -> None:
    record = evaluations(store)["rwkv"]
    assert record.task == {
        "name": "lm-eval-swde",
        "examples": 4,
        "documents": record.data_hash["test"],
        "context_length": None,
        "twice": False,
    }
    assert record.model["type"] == "rwkv"
    assert record.model["dtype"] == "float32"
    assert record.environment["harness"]["lm_eval"] == lm_eval.__version__
    assert sum(part.queries for part in record.slices) == 4
    assert {line["target"] for line in examples(store, record)} == {
        f"Jane Roe {i}" for i in range(4)
    }


def test_real_models_are_points_of_one_experiment_in_report_and_plot(store: ResultStore) -> None:
    table = points(store.frame())
    assert set(table["architecture"]) == {*FAMILIES, "mistral"}
    assert table["experiment"].nunique() == 1
    assert len(frontier(table)) >= 1
    points_tables(table)
    figure = plot_frontier(table)
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {*FAMILIES, "mistral"} <= labels


def test_a_finished_evaluation_is_not_repeated(store: ResultStore, models: dict[str, str]) -> None:
    told: list[str] = []
    request = Request(
        model=models["llama"], tasks=["swde"], data=store.path.parent, device="cpu", batch_size=2
    )
    (record,) = evaluate(request, store, told.append)
    assert record == store.read(record.run_id)
    assert told == [f"{record.run_id} is finished already; its record is kept."]
