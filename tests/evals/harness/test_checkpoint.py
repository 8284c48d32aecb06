import json
from pathlib import Path

import pytest
import torch
from official_data import passages, write_rows

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.evals.harness.evaluate import EXAMPLES, Request, evaluate
from recall_bench.model.state_size import measure_layers
from recall_bench.model.weights import WEIGHTS
from recall_bench.store.runs import ResultStore
from recall_bench.training.loop import train

lm_eval = pytest.importorskip("lm_eval", reason="needs the extra recall-bench[eval]")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    """A run of a task of text that kept its weights, and one of a task without text."""
    root = tmp_path_factory.mktemp("own")
    write_rows(root / "towns.jsonl", [{**row, "doc_id": ""} for row in passages(60)])
    store = ResultStore(root / "runs")
    text = {"name": "squad", "data": str(root / "towns.jsonl"), "length": 128}
    tokens = {"name": "mqar", "vocab_size": 32}
    tokens |= {"train": "16:2:64", "validation": "16:2:32", "test": "16:2:32"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALL_BENCH_CACHE", str(root / "cache"))
        for task in (text | {"tokenizer": "bytes", "test_share": 0.3}, tokens):
            config = RunConfig(
                task=task,
                architecture={"name": "based", "d_model": 32, "feature_dim": 8},
                training={"epochs": 4, "batch_size": 16, "learning_rate": 1e-2},
            )
            directory = store.directory(config.run_id)
            directory.mkdir(parents=True)
            store.write(train(config, directory=directory, device="cpu", keep=True))
    return store


@pytest.fixture(scope="module")
def run(store: ResultStore) -> Path:
    (found,) = (path for path in store.path.iterdir() if path.name.startswith("squad"))
    return found


def test_our_runs_say_what_a_forward_pass_over_the_whole_text_says(run: Path) -> None:
    from lm_eval.api.instance import Instance

    from recall_bench.evals.harness.checkpoint import CheckpointLM

    lm = CheckpointLM(str(run), "cpu", batch_size=2)
    until = {"until": ["\n", "e"], "max_gen_toks": 12}
    prompts = [row["text"] for row in passages(4)] + ["Town", "Ton ", "The"]
    requests = [Instance("generate_until", {}, (prompt, until), 0) for prompt in prompts]
    said = lm.generate_until(requests)
    assert len(set(said)) > 1
    for prompt, text in zip(prompts, said, strict=True):
        tokens = list(prompt.encode())
        for _ in range(12):
            hidden = lm.kept.model(torch.tensor([tokens]))[0, -1]
            tokens.append(int(lm.kept.model.logits(hidden).argmax()))
        plain = bytes(tokens[len(prompt) :]).decode("utf-8", "replace")
        assert text == plain.partition("\n")[0].partition("e")[0]


def test_the_likelihood_of_a_text_is_that_of_its_parts(run: Path) -> None:
    from lm_eval.api.instance import Instance

    from recall_bench.evals.harness.checkpoint import CheckpointLM

    lm = CheckpointLM(str(run), "cpu")

    def likelihood(context: str, continuation: str) -> float:
        request = Instance("loglikelihood", {}, (context, continuation), 0)
        return lm.loglikelihood([request])[0][0]

    whole = likelihood("It has 36", " people.")
    assert whole == pytest.approx(
        likelihood("It has 36", " peo") + likelihood("It has 36 peo", "ple."), rel=1e-5
    )
    assert whole < 0
    (rolling,) = lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("It has",), 0)])
    assert rolling == pytest.approx(likelihood("", "It has"), rel=1e-5)


def test_our_runs_are_evaluated_by_path_and_by_name_and_by_the_harness_alone(
    run: Path, store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    rows = passages(4)
    write_rows(tmp_path / "squad_completion.jsonl", rows)
    asked = {"tasks": ["squad_completion"], "data": tmp_path, "device": "cpu"}
    (by_path,) = evaluate(Request(model=str(run), **asked), ResultStore(tmp_path / "elsewhere"))
    (by_name,) = evaluate(Request(model=run.name, **asked), store)
    assert by_path.run_id == by_name.run_id
    assert by_path.test_accuracy == by_name.test_accuracy
    trained = store.read(run.name)
    assert by_name.model["name"] == "based"
    assert by_name.model["feature_dim"] == 8
    assert by_name.memory is not None
    config = RunConfig.model_validate(trained.config)
    layers = measure_layers(config.architecture, by_name.memory.state_length)
    assert by_name.memory.layers == layers

    documents = {"validation": datasets.Dataset.from_list(rows)}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: documents)
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    theirs = lm_eval.simple_evaluate(
        model="recall-bench",
        model_args={"run": str(run)},
        tasks=[str(Path(lm_eval.__file__).parent / "tasks/squad_completion/squad_completion.yaml")],
        task_manager=lm_eval.tasks.TaskManager(include_defaults=False),
        device="cpu",
        bootstrap_iters=0,
    )
    lines = (store.directory(by_name.run_id) / EXAMPLES).read_text().splitlines()
    samples = theirs["samples"]["squad_completion"]
    assert [json.loads(line)["output"] for line in lines] == [
        s["filtered_resps"][0] for s in samples
    ]
    assert theirs["results"]["squad_completion"]["contains,none"] == by_name.test_accuracy


def test_runs_without_text_or_weights_are_refused_with_what_to_do(
    store: ResultStore, run: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "squad_completion.jsonl", passages(2))
    asked = {"tasks": ["squad_completion"], "data": tmp_path, "device": "cpu"}
    (tokens,) = (path.name for path in store.path.iterdir() if path.name.startswith("mqar"))
    with pytest.raises(UserError, match="trained on mqar, whose tokens are not text"):
        evaluate(Request(model=tokens, **asked), store)
    (run / WEIGHTS).rename(tmp_path / WEIGHTS)
    try:
        with pytest.raises(
            UserError, match=r"kept no weights: .* Train it again with --keep-weights"
        ):
            evaluate(Request(model=run.name, **asked), store)
    finally:
        (tmp_path / WEIGHTS).rename(run / WEIGHTS)
