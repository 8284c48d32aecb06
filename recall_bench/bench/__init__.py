"""How fast, beside the floor: kernels, training, tasks."""
