"""Does a synthetic ordering predict the real one? Pairs MQAR's points with those of SWDE.

    python results/swde-books/ordering.py SWDE.jsonl MQAR.jsonl FIGURE.png

A point of SWDE is paired with the points of MQAR of the same architecture and the same knobs of the
state (feature_dim, window, d_state, head_dim, where both have them); width and depth differ. The
score of SWDE is `contains` on held-out pages, and on the held-out site, at the learning rate best
on validation; the score of MQAR is test accuracy. Spearman's rank correlation is over the pairs.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

KNOBS = ("feature_dim", "window", "d_state", "head_dim")
USED = {
    "based": ("feature_dim", "window"),
    "sliding-window": ("window",),
    "mamba": ("d_state",),
    "h3": ("d_state",),
    "rwkv": ("head_dim",),
}


def points(file: Path) -> pd.DataFrame:
    """One row a point: the seeds' mean at the learning rate best on validation."""
    rows = []
    for line in file.read_text().splitlines():
        record = json.loads(line)
        record = json.loads(record["record"]) if "record" in record else record
        if record["status"] != "finished":
            continue
        architecture = record["config"]["architecture"]
        name = architecture["name"]
        knobs = {knob: architecture[knob] for knob in USED.get(name, ())}
        said = {part["options"].get("held_out"): part for part in record.get("generation", [])}
        rows.append(
            {
                "architecture": name,
                "knobs": json.dumps(knobs),
                "width": architecture["d_model"],
                "rate": record["config"]["training"]["learning_rate"],
                "validation": record["validation_accuracy"],
                "accuracy": record["test_accuracy"],
                "pages": said.get(0, {}).get("contains"),
                "site": said.get(1, {}).get("contains"),
                "bytes": record["memory"]["state_bytes"],
            }
        )
    frame = pd.DataFrame(rows)
    point = ["architecture", "knobs", "width"]
    by_rate = frame.groupby([*point, "rate"], as_index=False).mean(numeric_only=True)
    best = by_rate.groupby(point)["validation"].idxmax()
    return by_rate.loc[best].groupby(["architecture", "knobs"], as_index=False).max()


def main() -> None:
    """Print the pairs and the correlations, and draw them."""
    real, synthetic, figure = map(Path, sys.argv[1:4])
    pairs = points(real).merge(points(synthetic), on=["architecture", "knobs"], suffixes=("", "_m"))
    if pairs.empty:
        sys.exit("No point of SWDE has one of MQAR with the same architecture and knobs.")
    print(pairs[["architecture", "knobs", "bytes", "accuracy_m", "pages", "site"]].to_string())
    axes = plt.figure(figsize=(9, 4.2), layout="constrained").subplots(1, 2, sharex=True)
    for axis, score, title in zip(
        axes, ("pages", "site"), ("held-out pages", "held-out site"), strict=True
    ):
        rank = pairs["accuracy_m"].rank().corr(pairs[score].rank())
        print(f"Spearman's rank correlation, {title}: {rank:.2f} over {len(pairs)} pairs")
        for name, mine in pairs.groupby("architecture"):
            axis.scatter(mine["accuracy_m"], mine[score], label=name)
        axis.set(title=f"{title}: rank correlation {rank:.2f}", xlabel="MQAR, test accuracy")
        axis.set_ylabel("SWDE, contains")
    axes[0].legend(frameon=False)
    plt.savefig(figure, dpi=150)
    print(f"Wrote {figure}")


if __name__ == "__main__":
    main()
