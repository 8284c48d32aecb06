"""Models that exist already, scored."""
