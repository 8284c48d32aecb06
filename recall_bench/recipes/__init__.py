"""What is run where nothing is said: presets, suites, and sizes for a CPU."""
