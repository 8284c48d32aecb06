"""Defaults for sweeps: presets, suites, and sizes for a CPU."""
