"""The verbs of the command line, thin; what is heavy is imported inside the verb that needs it."""
