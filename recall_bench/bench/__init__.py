"""Speed of kernels, training and tasks, compared with the hardware's limits."""
