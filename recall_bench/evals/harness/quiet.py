"""Limits what the packages of the extra print."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator

TALKERS = ("lm_eval", "transformers", "datasets", "accelerate", "huggingface_hub")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block, show progress bars and warnings in a terminal only.

    The harness shows errors only, since our records contain what it warns about. Log levels are
    restored at the end.
    """
    import transformers  # noqa: F401 - sets its logger's level when it is first imported

    terminal = sys.stderr.isatty()
    loggers = {logging.getLogger(name) for name in TALKERS[: 1 if terminal else None]}
    levels = {logger: logger.level for logger in loggers}
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with contextlib.ExitStack() as stack:
            if not terminal:
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
