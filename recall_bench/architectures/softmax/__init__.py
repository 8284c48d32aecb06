"""Softmax attention, whole and windowed."""
