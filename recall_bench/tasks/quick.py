"""Options that make a task small enough for a first look on a CPU, by task name.

At the recipe of the preset ``quick`` a run takes a minute or less on one core, attention solves the
task where it should, and at least two architectures part. What is not named here is as published.
"""

from typing import Any

QUICK: dict[str, dict[str, Any]] = {}
