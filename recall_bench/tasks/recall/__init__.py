"""Associative recall, copying and look-ups."""
