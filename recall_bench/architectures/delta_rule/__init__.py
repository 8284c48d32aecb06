"""Mixers that remove from their memory what they read there before they write."""
