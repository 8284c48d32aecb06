"""The verbs of the command line; each imports its heavy modules when it runs."""
