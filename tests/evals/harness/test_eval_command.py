import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command
from official_data import pages, passages, write_rows
from tiny_models import save_tiny_model

pytest.importorskip("lm_eval", reason="needs the extra recall-bench[eval]")


@pytest.fixture(scope="module")
def rwkv(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model("rwkv", tmp_path_factory.mktemp("models") / "tiny-rwkv")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model("llama", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_rows(tmp_path / "data" / "swde.jsonl", pages(3))
    write_rows(tmp_path / "data" / "squad_completion.jsonl", passages(3))
    return tmp_path / "data"


def test_the_command_evaluates_reports_plots_and_exports(
    recall_bench: Command, rwkv: str, llama: str, data: Path, tmp_path: Path
) -> None:
    words = ("eval", "--data", data, "--device", "cpu", "--tasks", "swde")
    recall_bench(*words, "--model", rwkv).succeeded("tiny-rwkv", "1,280", "runs")
    recall_bench(*words, "--model", llama, "--limit", 3).succeeded("tiny-llama")
    again = recall_bench(*words, "--model", llama)
    assert "is finished already; its record is kept" in again.err
    recall_bench("report").succeeded("tiny-rwkv", "tiny-llama")
    recall_bench("plot", "--output", "frontier.svg").succeeded("Wrote frontier.svg")
    assert "tiny-llama" in (tmp_path / "frontier.svg").read_text()
    recall_bench("export", "--output", "all.jsonl").succeeded("2 records")


def test_twice_and_a_context_length_are_experiments_of_their_own(
    recall_bench: Command, llama: str, data: Path, tmp_path: Path
) -> None:
    words = ("eval", "--model", llama, "--data", data, "--device", "cpu")
    words += ("--tasks", "swde,squad_completion", "--limit", 1)
    recall_bench(*words).succeeded()
    recall_bench(*words, "--twice").succeeded()
    recall_bench(*words, "--context-length", 90).succeeded()
    recall_bench(*words, "--context-length", 90, "--twice").succeeded()
    found = {}
    for file in (tmp_path / "runs").glob("lm-eval-swde-*/record.json"):
        task = json.loads(file.read_text())["task"]
        line = json.loads((file.parent / "examples.jsonl").read_text().splitlines()[0])
        found[task["context_length"], task["twice"]] = line["prompt"]
    shown = "The film of page 0. Director: Jane Roe 0. It came out in 1950, in a town of 0 people"
    assert found[None, False] == f"{shown}. director:"
    assert found[None, True] == f"Information about Director. {shown}.\n{shown}. Director:"
    cut = found[90, False].removesuffix(". Director:")
    assert len(cut) == 40  # characters are tokens here
    assert "Director: Jane" in cut
    assert found[90, True] == f"Information about Director. {cut}.\n{cut}. Director:"


def test_a_prompt_longer_than_the_model_takes_is_told(
    recall_bench: Command, rwkv: str, data: Path
) -> None:
    words = ("eval", "--model", rwkv, "--data", data, "--device", "cpu", "--tasks", "swde")
    outcome = recall_bench(*words, "--max-length", 100)
    assert outcome.code == 0
    assert "swde: 3 of 3 prompts are longer than the 52 tokens" in outcome.err
    assert "--context-length" in outcome.err


def test_what_is_wrong_is_said_in_one_message(
    recall_bench: Command, rwkv: str, data: Path, tmp_path: Path
) -> None:
    def refused(words: str, *said: str) -> None:
        given = ("eval", "--model", rwkv, "--data", data, "--device", "cpu", *words.split())
        recall_bench(*given).refused(*said)

    refused("--tasks swd", "Did you mean 'swde'?")
    refused("--tasks fda", "hazyresearch/based-fda", "fda.jsonl")
    refused("--tasks swde --context-length 50", "context_length", "greater than 50")
    refused("--tasks swde --dtype int8", "dtype", "bfloat16")
    refused("--tasks squad_completion --batch-size 2", "reads padding as text", "--batch-size 1")
    refused("--tasks swde --trust-remote-code other/model", rwkv)
    write_rows(data / "swde.jsonl", [{"text": "a", "value": "b"}])
    refused("--tasks swde", "row 1 lacks text in the column key")
    assert not list(tmp_path.glob("runs/*"))


def test_attention_takes_batches(recall_bench: Command, llama: str, data: Path) -> None:
    words = ("eval", "--model", llama, "--data", data, "--device", "cpu", "--tasks", "swde")
    recall_bench(*words, "--batch-size", 2).succeeded("tiny-llama")


def test_a_model_that_is_nowhere_is_named_with_what_was_expected(
    recall_bench: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    words = ("eval", "--data", data, "--tasks", "swde", "--device", "cpu", "--model")
    recall_bench(*words, "nobody/no-such-model").refused(
        "Cannot find the model nobody/no-such-model", "save_pretrained"
    )
    (tmp_path / "empty").mkdir()
    recall_bench(*words, "empty").refused("Cannot load the model empty")


def test_code_that_a_model_brings_is_run_for_that_name_alone(
    recall_bench: Command, llama: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("transformers.dynamic_module_utils", "transformers.utils.hub"):
        monkeypatch.setattr(f"{module}.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    monkeypatch.setattr("sys.path", [*sys.path])
    model = tmp_path / "own-code"
    model.mkdir()
    for file in Path(llama).iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "code.py").write_text(
        "from pathlib import Path\nfrom transformers import LlamaConfig\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class Own(LlamaConfig):\n    model_type = 'own'\n"
    )
    words = ("eval", "--data", data, "--tasks", "swde", "--device", "cpu", "--model", model)
    recall_bench(*words).refused(f"--trust-remote-code {model}")
    assert not (tmp_path / "ran").exists()
    recall_bench(*words, "--trust-remote-code", model)
    assert (tmp_path / "ran").exists()


def test_nothing_of_the_extra_is_imported_before_it_is_used(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom recall_bench.cli import main\n"
        "try:\n    main(['eval', '--help'])\nexcept SystemExit:\n    pass\n"
        "import recall_bench.evals.harness.extra, recall_bench.training.loop\n"
        "heavy = {'lm_eval', 'transformers', 'datasets', 'accelerate', 'tokenizers'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr.strip() == "[]"
