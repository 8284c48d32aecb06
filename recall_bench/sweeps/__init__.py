"""Plans many runs and carries them out in worker processes."""
