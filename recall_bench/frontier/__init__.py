"""Records become points, and the points that no other beats the frontier."""

from recall_bench.frontier.points import frontier, points

__all__ = ["frontier", "points"]
