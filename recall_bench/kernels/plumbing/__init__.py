"""Code that all operators share: dispatch, tiles, sums, streams."""
