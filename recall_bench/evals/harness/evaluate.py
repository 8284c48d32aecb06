"""Evaluates one model on the harness's recall tasks and records the scores."""

import importlib.metadata
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from recall_bench.config import Config, explain
from recall_bench.errors import UserError
from recall_bench.evals.harness import extra
from recall_bench.evals.harness.data import documents_hash
from recall_bench.evals.harness.models import Subject, is_run, load_hugging_face, load_own_run
from recall_bench.evals.harness.prompts import ANSWER_TOKENS, JustReadTwice
from recall_bench.evals.harness.tasks import METRIC, RecallTask, get_task
from recall_bench.store.files import explained, write_file
from recall_bench.store.record import (
    EvaluationRecord,
    EvaluationTiming,
    Memory,
    SliceScore,
    evaluation_id,
    now,
)
from recall_bench.store.runs import ResultStore
from recall_bench.training import environment
from recall_bench.training.device import resolve_device
from recall_bench.training.peak_memory import PeakMemory

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = "examples.jsonl"
"""A file beside a record: one line per example, with its prompt, output and score."""
GENERATED = 48
"""Tokens that a model generates at most, as the tasks define it."""
PACKAGES = ("lm_eval", "transformers", "datasets", "tokenizers", "accelerate")

Tell = Callable[[str], None]


class Request(Config):
    """The model and tasks to evaluate, and the settings."""

    model: str = Field(description="a directory, a run of the store, or a name on the hub")
    tasks: tuple[str, ...] = Field(min_length=1)
    data: Path | None = Field(None, description="directory of local copies; None: use the hub")
    limit: int | None = Field(None, ge=1, description="evaluate only the first examples of a task")
    context_length: int | None = Field(
        None, gt=ANSWER_TOKENS, description="tokens that documents are cut to; None: not cut"
    )
    twice: bool = Field(False, description="show each document twice")
    batch_size: int = Field(1, ge=1)
    max_length: int | None = Field(
        None,
        gt=GENERATED,
        description="tokens that a model accepts; None: as its configuration says",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    trust_remote_code: str | None = Field(
        None, description="name of the model that may run code of its own"
    )

    @classmethod
    def of(cls, **fields: Any) -> "Request":
        """A request; raises `UserError` for an invalid field."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise UserError(f"{explain(error, cls)}.") from error


@dataclass(frozen=True)
class _Job:
    """One task with its documents."""

    task: RecallTask
    documents: "Dataset"
    options: dict[str, Any]
    """The task in the record; scores depend on these options and the model only."""


def evaluate(
    request: Request, store: ResultStore, tell: Tell = lambda _: None
) -> list[EvaluationRecord]:
    """Evaluate a model on tasks; each finished (model, task) becomes a record in ``store``.

    The documents of all tasks are loaded before the model. ``tell`` receives messages for the user.
    Raises `UserError` for a missing package, model or data set.
    """
    extra.require()
    if request.trust_remote_code not in (None, request.model):
        raise UserError(
            f"--trust-remote-code {request.trust_remote_code}: expected the name of the model "
            f"whose code may run, the same as for --model: {request.model}."
        )
    tasks = [get_task(name) for name in dict.fromkeys(request.tasks)]
    extra.keep_to_installed_code()
    own = _own_run(request, store)
    if request.data is None or not (own or Path(request.model).is_dir()):
        extra.go_offline_without_a_hub()
    jobs = [_job(task, request) for task in tasks]
    device = resolve_device(request.device)
    peak = PeakMemory(device)
    size, longest = request.batch_size, request.max_length
    if own:
        subject = load_own_run(own, device=device, batch_size=size, max_length=longest)
    else:
        subject = load_hugging_face(
            request.model,
            device=device,
            dtype=request.dtype,
            batch_size=size,
            max_length=longest,
            trust_remote_code=request.trust_remote_code is not None,
        )
    store.prepare()
    records = []
    for job in jobs:
        model = {"name": subject.name, **subject.knobs}
        run_id = evaluation_id(job.options, model, _task_version(job))
        record = store.find(run_id)
        if isinstance(record, EvaluationRecord):
            tell(f"{run_id} is finished already; its record is kept.")
        else:
            record, lines = _evaluate(job, subject, request, peak, run_id, tell)
            _keep(store, record, lines)
        records.append(record)
    return records


def _job(task: RecallTask, request: Request) -> _Job:
    documents = task.documents(request.data, request.twice)
    if request.limit is not None:
        documents = documents.select(range(min(request.limit, len(documents))))
    options = {
        "name": f"lm-eval-{task.name}",
        "examples": len(documents),
        "documents": documents_hash(documents),
        "context_length": request.context_length,
        "twice": request.twice,
    }
    return _Job(task, documents, options)


def _own_run(request: Request, store: ResultStore) -> Path | None:
    """The directory of the model, by path or by id in the store, if it is one of our runs."""
    places = (Path(request.model), store.directory(request.model))
    return next((place.resolve() for place in places if is_run(place)), None)


def _task_version(job: _Job) -> int:
    return int(job.task.harness_class.VERSION)


def _evaluate(
    job: _Job, subject: Subject, request: Request, peak: PeakMemory, run_id: str, tell: Tell
) -> tuple[EvaluationRecord, list[dict[str, Any]]]:
    """The record of one task, and a line for each example."""
    import lm_eval

    started, began = now(), time.perf_counter()
    prompt = None
    if request.twice or request.context_length is not None:
        keyed = "key" in job.task.columns
        prompt = JustReadTwice(subject.lm, keyed, request.context_length, request.twice)
    task = job.task.build(job.documents, prompt)
    prepared = time.perf_counter()
    results = lm_eval.evaluate(
        lm=subject.lm, task_dict={"tasks": {job.task.name: task}}, bootstrap_iters=0
    )
    evaluated = time.perf_counter()
    lines = [_line(sample, subject) for sample in results["samples"][job.task.name]]
    cut = sum(line["lost_its_beginning"] for line in lines)
    if cut:
        tell(
            f"{job.task.name}: {cut} of {len(lines)} prompts are longer than the {_room(subject)} "
            f"tokens that {subject.name} accepts and lost their beginning; --context-length cuts "
            f"around the answer instead."
        )
    longest = max(line["prompt_tokens"] for line in lines)
    state = subject.measure(int(min(longest, _room(subject))) + 1)
    record = EvaluationRecord(
        run_id=run_id,
        status="finished",
        task=job.options,
        model={"name": subject.name, **subject.knobs},
        versions={"task": _task_version(job)},
        data_hash={"test": job.options["documents"]},
        test_accuracy=float(results["results"][job.task.name][f"{METRIC},none"]),
        slices=_by_length(lines),
        memory=Memory(
            state_bytes=state.bytes,
            state_length=state.length,
            state_dtype=state.dtype,
            layers=state.layers,
            parameters=subject.parameters,
            peak_bytes=peak.read(),
        ),
        timing=EvaluationTiming(
            wall_seconds=time.perf_counter() - began,
            evaluation_seconds=evaluated - prepared,
            data_seconds=prepared - began,
            tokens_per_second=sum(line["prompt_tokens"] for line in lines) / (evaluated - prepared),
        ),
        environment={
            **environment.describe_host(resolve_device(request.device)),
            "harness": {name: importlib.metadata.version(name) for name in PACKAGES},
            "batch_size": request.batch_size,
            "lost_their_beginning": cut,
        },
        started=started,
        finished=now(),
    )
    return record, lines


def _line(sample: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """One example for `EXAMPLES`."""
    prompt = sample["arguments"][0][0]
    tokens = len(subject.lm.tok_encode(prompt))
    return {
        "example": sample["doc_id"],
        "key": sample["doc"].get("key") or sample["doc"].get("question"),
        "target": sample["target"],
        "output": sample["filtered_resps"][0],
        METRIC: int(sample[METRIC]),
        "prompt_tokens": tokens,
        "lost_its_beginning": tokens > _room(subject),
        "prompt": prompt,
    }


def _room(subject: Subject) -> float:
    """The longest prompt, in tokens, that leaves room for the answer."""
    return math.inf if subject.max_length is None else subject.max_length - GENERATED


def _by_length(lines: list[dict[str, Any]]) -> list[SliceScore]:
    """Scores by prompt length, rounded up to a power of two."""
    scores: dict[int, list[int]] = {}
    for line in lines:
        limit = 1 << (line["prompt_tokens"] - 1).bit_length()
        scores.setdefault(limit, []).append(line[METRIC])
    return [
        SliceScore(
            name="prompt_tokens_up_to",
            value=limit,
            queries=len(group),
            accuracy=sum(group) / len(group),
        )
        for limit, group in sorted(scores.items())
    ]


def _keep(store: ResultStore, record: EvaluationRecord, lines: list[dict[str, Any]]) -> None:
    """Write the examples, then the record: its existence means finished. Raises `StoreError`."""
    directory = store.directory(record.run_id)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
    write_file(directory / EXAMPLES, text.encode())
    store.write(record)
