"""Documents, questions and plain text."""
