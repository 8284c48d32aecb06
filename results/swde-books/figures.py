"""What the runs of run.sh say: contains against state bytes, perplexity by slice, and whether a
synthetic ordering predicts the real one.

    python results/swde-books/figures.py MQAR.jsonl

reads swde.jsonl and text.jsonl beside this file, and writes contains.png and ordering.png there. A
point is the seeds' mean at the learning rate that `recall_bench.frontier.points` chooses. For the
ordering it is paired with the best point of MQAR of the same architecture and the same knobs of
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

from recall_bench import frontier, store

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
    """One row a point of an exported store, the best width where there are several.

    Numbers are means over seeds, with the lowest and highest as ``…_low`` and ``…_high``.
    """
    runs, _ = store.load(file)
    runs = runs[runs["status"] == "finished"]
    texts = dict(zip(runs["run_id"], runs["record"], strict=True))
    rows, point = [], ["architecture", "knobs"]
    for ids in frontier.points(runs)["run_ids"]:
        seeds = pd.DataFrame([row(json.loads(texts[run_id])) for run_id in ids])
        names, numbers = seeds[point].iloc[0], seeds.drop(columns=point).astype(float)
        edges = numbers.min().add_suffix("_low"), numbers.max().add_suffix("_high")
        rows.append(pd.concat([names, numbers.mean(), *edges, pd.Series({"seeds": len(ids)})]))
    best = pd.DataFrame(rows).sort_values("validation").groupby(point).tail(1)
    return best.sort_values(["architecture", "bytes"])


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
