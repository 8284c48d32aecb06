"""Questions about documents, and plain text."""
