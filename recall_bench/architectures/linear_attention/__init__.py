"""Linear attention: sums over the past with a feature map or a decay."""
