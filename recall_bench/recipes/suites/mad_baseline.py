"""MAD's six tasks at their baselines alone: a tenth of the runs, for a first look.

The published scores beside them are means over the changes too, which make tasks harder: they are
no reference for a baseline, but say which model should be good at what.
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
            "description": "MAD (2403.17844): baselines; the paper's scores include changes",
            "columns": columns,
        }
    )
