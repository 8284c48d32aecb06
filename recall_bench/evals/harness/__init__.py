"""Existing language models on real documents, through lm-evaluation-harness (`evaluate.evaluate`).

The harness owns the tasks, the prompts and the scores. This package gives it documents that may
lie on the disk, the published truncation and the twice-prompt where they are asked for, and our
own trained runs as models; it turns the results into records of our store, with the bytes that a
model's real cache holds.

Needs the extra ``recall-bench[eval]``, of which nothing is imported before it is used.
"""
