"""Parts that several mixers share, one per file."""
