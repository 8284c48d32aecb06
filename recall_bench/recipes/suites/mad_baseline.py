"""MAD's six tasks at their baselines only: a tenth of the runs, for a first look.

The published scores are means over the changes too, which make tasks harder. They are no reference
for a baseline, so tables and figures show them apart; they say which model should be good at what.
"""

from recall_bench.recipes.suites import mad
from recall_bench.recipes.suites.base import Suite


def suite() -> Suite:
    """MAD without its one-at-a-time changes."""
    whole = mad.suite()
    columns = {
        name: column.model_copy(update={"settings": column.settings[:1]})
        for name, column in whole.columns.items()
    }
    return whole.model_copy(
        update={
            "name": "mad-baseline",
            "sizes": whole.name,
            "description": "MAD (2403.17844): baselines",
            "published_otherwise": "means over baselines and harder changes",
            "columns": columns,
        }
    )
