"""Tools that several tasks share."""
