"""Records become points, and the points that no other beats the frontier."""

from recall_bench.frontier.pareto import frontier
from recall_bench.frontier.points import points

__all__ = ["frontier", "points"]
