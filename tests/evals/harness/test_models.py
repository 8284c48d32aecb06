from pathlib import Path

from recall_bench.evals.harness.models import content_hash


def test_whatever_decides_what_a_model_says_makes_it_another_model(tmp_path: Path) -> None:
    files = ("model.safetensors", "config.json", "tokenizer.json", "merges.txt")
    for name in files:
        (tmp_path / name).write_text(name)
    (tmp_path / "README.md").write_text("a model")
    before = content_hash(tmp_path)
    (tmp_path / "README.md").write_text("the same model")
    assert content_hash(tmp_path) == before
    for name in files:
        (tmp_path / name).write_text("other")
        assert content_hash(tmp_path) != before, name
        (tmp_path / name).write_text(name)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-2.safetensors")
    assert content_hash(tmp_path) != before
