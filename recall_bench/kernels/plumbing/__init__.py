"""What all operators share: dispatch, tiles, sums, streams."""
