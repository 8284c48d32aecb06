"""Says which stored runs have the same configuration as a sweep's, but other code of a plugin."""

from collections.abc import Iterable

from recall_bench.config import RunConfig, canonical_json
from recall_bench.store.record import TrainingRecord
from recall_bench.store.runs import ResultStore


def note(configs: Iterable[RunConfig], store: ResultStore) -> str | None:
    """A message on the records of other code; None without any, or without plugins."""
    expected = {
        canonical_json([config.model_dump(mode="json"), config.versions]): config.run_id
        for config in configs
        if config.plugin_digest
    }
    if not expected:
        return None
    count = 0
    for record in store.records():
        if isinstance(record, TrainingRecord):
            run_id = expected.get(canonical_json([record.config, record.versions]))
            count += run_id is not None and run_id != record.run_id
    if not count:
        return None
    runs = "1 run" if count == 1 else f"{count} runs"
    return (
        f"{store.path} holds {runs} of the same configuration and other source of a plugin. They "
        f"are kept as points of their own, and none of them counts here."
    )
