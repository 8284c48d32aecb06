"""Existing language models on real documents, through lm-evaluation-harness (`evaluate.evaluate`).

The harness defines the tasks, the prompts and the scores. This package can give it local documents,
the published truncation, the prompt that shows a document twice, and our own trained runs as
models. It turns the results into records of our store, with the bytes of a model's real cache.

It needs the extra ``recall-bench[eval]`` and imports its packages only when it uses them.
"""
