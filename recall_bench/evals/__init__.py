"""Evaluation of existing models."""
