"""Prints and draws the results of run.sh: `contains` against state bytes, perplexity by slice, and
whether the order of architectures on MQAR predicts their order on real pages.

    python results/swde-books/figures.py MQAR.jsonl

reads swde.jsonl and text.jsonl beside this file, and writes contains.png and ordering.png there.
MQAR.jsonl is an exported store. A point is the mean over seeds at the learning rate that
`recall_bench.frontier.points` chooses. For the comparison of orders each point is paired with the
best point on MQAR that has the same architecture and the same state knobs (KNOBS below); width and
depth differ. Rank correlations are Spearman's.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recall_bench import frontier, store
from recall_bench.reports.style import (
    legend_outside,
    mean_marker,
    memory_ticks,
    print_style,
    save,
    styles_of,
)

HERE = Path(__file__).parent
KNOBS = {
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
"""Test questions that `contains` is shown for; new answers occur in no training question."""


def row(record: dict[str, Any]) -> dict[str, Any]:
    """The scores and the state size of a run; None for scores that its task does not have."""
    architecture = record["config"]["architecture"]
    name = architecture["name"]
    parts = {part["options"].get("held_out"): part for part in record.get("generation", [])}
    seen = [part for part in parts.get(0, {}).get("slices", []) if part["name"] == "seen"]
    loss = {(part["name"], part["value"]): part.get("loss") for part in record["slices"]}
    return {
        "architecture": name,
        "knobs": " ".join(f"{knob}={architecture[knob]}" for knob in KNOBS.get(name, ())),
        "validation": record["validation_accuracy"],
        "accuracy": record["test_accuracy"],
        "loss": record["test_loss"],
        "loss_recall": loss.get(("recall", 1)),
        "loss_other": loss.get(("recall", 0)),
        "pages": parts.get(0, {}).get("contains"),
        "unseen": next((part["contains"] for part in seen if part["value"] == 0), None),
        "site": parts.get(1, {}).get("contains"),
        "bytes": record["memory"]["state_bytes"],
    }


def points(file: Path) -> pd.DataFrame:
    """One row for each point of an exported store, at the width that is best on validation.

    Numbers are means over seeds; ``…_low`` and ``…_high`` are the lowest and highest seed.
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


def draw(pairs: pd.DataFrame, x: str, label: str, bytes_axis: bool, file: Path) -> None:
    """The scores against a column, a style for each architecture; bars span the seeds."""
    styles = styles_of(pairs["architecture"])
    with print_style():
        figure = Figure(figsize=(9, 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 3, sharey=True)
        for axis, (score, title) in zip(axes, SCORES.items(), strict=True):
            for name, mine in pairs.sort_values(x).groupby("architecture"):
                style = styles[str(name)]
                line = "-" if bytes_axis else "none"
                ends = mine[f"{score}_low"], mine[f"{score}_high"]
                axis.vlines(mine[x], *ends, style.color, linewidth=1)
                look = {"linestyle": line, "linewidth": 0.9, **mean_marker(style, width=6.8)}
                axis.plot(mine[x], mine[score], label=name, **look)
            axis.set(title=title, xlabel=label, ylim=(-0.02, 0.8))
            if bytes_axis:
                low, high = pairs[x].min() / 1.5, pairs[x].max() * 1.5
                memory_ticks(axis, low, high)
        axes[0].set_ylabel("contains")
        handles, _ = axes[-1].get_legend_handles_labels()
        legend_outside(figure, handles)
        save(figure, file)
    print(f"Wrote {file}")


def main() -> None:
    """Print the tables and correlations, and draw the two figures."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    real = points(HERE / "swde.jsonl")
    shown = ["architecture", "knobs", "bytes", "seeds", *SCORES, "accuracy"]
    print(real[shown].round(3).astype({"bytes": int}).to_string(index=False))
    title = "state bytes after 1,024 tokens"
    draw(real, "bytes", title, True, HERE / "contains.png")

    text = points(HERE / "text.jsonl")
    for loss in ("loss", "loss_recall", "loss_other"):
        text[loss.replace("loss", "perplexity")] = text[loss].map(lambda nats: 2.718281828**nats)
    shown = ["architecture", "knobs", "perplexity", "perplexity_recall", "perplexity_other"]
    print(text[shown].round(1).to_string(index=False))

    pairs = real.merge(points(Path(sys.argv[1])), on=["architecture", "knobs"], suffixes=("", "_m"))
    if len(pairs) < 3:
        sys.exit(
            f"Only {len(pairs)} points have a point on MQAR with the same architecture and knobs."
        )
    for score, title in SCORES.items():
        rank = pairs["accuracy_m"].rank().corr(pairs[score].rank())
        print(f"Rank correlation of MQAR and {title}: {rank:.2f} over {len(pairs)} pairs")
    draw(pairs, "accuracy_m", "MQAR, test accuracy", False, HERE / "ordering.png")


if __name__ == "__main__":
    main()
