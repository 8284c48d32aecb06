"""Linear attention: a sum over the past with a feature map or a decay."""
