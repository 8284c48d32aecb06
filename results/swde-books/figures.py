"""What the runs of run.sh say: contains against state bytes, perplexity by slice, and whether a
synthetic ordering predicts the real one.

    python results/swde-books/figures.py MQAR.jsonl

reads swde.jsonl and text.jsonl beside this file, and writes contains.png and ordering.png there. A
point is the seeds' mean at the learning rate best on validation, of those with the most seeds. For
the ordering it is paired with the best point of MQAR of the same architecture and the same knobs of
the state (USED below); width and depth differ. Rank correlations are Spearman's. MQAR.jsonl is an
exported store.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

HERE = Path(__file__).parent
USED = {
    "based": ("feature_dim", "window"),
    "sliding-window": ("window",),
    "mamba": ("d_state",),
    "h3": ("d_state",),
    "rwkv": ("head_dim",),
}
SCORES = {
    "pages": "held-out pages",
    "unseen": "held-out pages, new answers",
    "site": "site never trained on",
}
"""What `contains` is shown of; new answers are those that no training question has."""


def row(record: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a run that this page is about; None where its task has no such."""
    architecture = record["config"]["architecture"]
    name = architecture["name"]
    said = {part["options"].get("held_out"): part for part in record.get("generation", [])}
    new = [part for part in said.get(0, {}).get("slices", []) if part["name"] == "seen"]
    loss = {(part["name"], part["value"]): part.get("loss") for part in record["slices"]}
    return {
        "architecture": name,
        "knobs": " ".join(f"{knob}={architecture[knob]}" for knob in USED.get(name, ())),
        "width": architecture["d_model"],
        "seed": record["config"]["seed"],
        "rate": record["config"]["training"]["learning_rate"],
        "validation": record["validation_accuracy"],
        "accuracy": record["test_accuracy"],
        "loss": record["test_loss"],
        "loss_recall": loss.get(("recall", 1)),
        "loss_other": loss.get(("recall", 0)),
        "pages": said.get(0, {}).get("contains"),
        "unseen": next((part["contains"] for part in new if part["value"] == 0), None),
        "site": said.get(1, {}).get("contains"),
        "bytes": record["memory"]["state_bytes"],
    }


def points(file: Path) -> pd.DataFrame:
    """One row a point of an exported store, the best width where there are several."""
    records = map(json.loads, file.read_text().splitlines())
    frame = pd.DataFrame([row(record) for record in records if record["status"] == "finished"])
    point, kept = ["architecture", "knobs", "width"], ["rate", "seed"]
    numbers = [name for name in frame if name not in point + kept]
    frame = frame.astype(dict.fromkeys(numbers, float))
    runs = frame.groupby([*point, "rate"])
    rates = runs[numbers].mean()
    rates["seeds"] = runs["seed"].nunique()
    for score in SCORES:
        rates[f"{score}_low"], rates[f"{score}_high"] = runs[score].min(), runs[score].max()
    rates = rates.reset_index().sort_values(["seeds", "validation"])
    best = rates.groupby(point).tail(1).sort_values("validation")
    return best.groupby(["architecture", "knobs"]).tail(1).sort_values(["architecture", "bytes"])


def draw(pairs: pd.DataFrame, x: str, label: str, logarithmic: bool, file: Path) -> None:
    """The scores against a column, a colour an architecture; bars span the seeds."""
    axes = plt.figure(figsize=(12, 4.2), layout="constrained").subplots(1, 3, sharey=True)
    for axis, (score, title) in zip(axes, SCORES.items(), strict=True):
        for name, mine in pairs.sort_values(x).groupby("architecture"):
            spread = [mine[score] - mine[f"{score}_low"], mine[f"{score}_high"] - mine[score]]
            axis.errorbar(
                mine[x],
                mine[score],
                spread,
                fmt="o-" if logarithmic else "o",
                label=name,
                capsize=2,
            )
        axis.set(title=title, xlabel=label, ylabel="contains", ylim=(0, 1))
        if logarithmic:
            axis.set_xscale("log")
    axes[-1].legend(frameon=False)
    plt.savefig(file, dpi=150)
    print(f"Wrote {file}")


def main() -> None:
    """Print the tables and correlations, and draw the two figures."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    real = points(HERE / "swde.jsonl")
    shown = ["architecture", "knobs", "bytes", "seeds", *SCORES, "accuracy"]
    print(real[shown].round(3).astype({"bytes": int}).to_string(index=False))
    title = "state, bytes a sequence after 1,024 tokens"
    draw(real, "bytes", title, True, HERE / "contains.png")

    text = points(HERE / "text.jsonl")
    for loss in ("loss", "loss_recall", "loss_other"):
        text[loss.replace("loss", "perplexity")] = text[loss].map(lambda nats: 2.718281828**nats)
    shown = ["architecture", "knobs", "perplexity", "perplexity_recall", "perplexity_other"]
    print(text[shown].round(1).to_string(index=False))

    pairs = real.merge(points(Path(sys.argv[1])), on=["architecture", "knobs"], suffixes=("", "_m"))
    if len(pairs) < 3:
        sys.exit(f"{len(pairs)} points have one of MQAR with the same architecture and knobs.")
    for score, title in SCORES.items():
        rank = pairs["accuracy_m"].rank().corr(pairs[score].rank())
        print(f"Rank correlation of MQAR and {title}: {rank:.2f} over {len(pairs)} pairs")
    draw(pairs, "accuracy_m", "MQAR, test accuracy", False, HERE / "ordering.png")


if __name__ == "__main__":
    main()
