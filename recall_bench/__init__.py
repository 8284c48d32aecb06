"""How well does a sequence-mixing layer recall, and what does that cost in memory?"""

from recall_bench.registry import register_architecture, register_task

__version__ = "0.1.0"

__all__ = ["__version__", "register_architecture", "register_task"]
