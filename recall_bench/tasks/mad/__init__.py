"""The six tasks of MAD (2403.17844)."""
