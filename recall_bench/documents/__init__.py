"""Real and generated documents: loaders, tokenisation, and prompts of a given length."""
