"""Needles, variables and counts, after RULER (2404.06654)."""
