"""The only training loop: one run, from its configuration to its record."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from recall_bench.config import RunConfig, TrainingConfig
from recall_bench.kernels.plumbing import dispatch
from recall_bench.model import decoding
from recall_bench.model.backbone import Model, build_model, isolated_rng
from recall_bench.model.state_size import dtypes, measure_layers, total_bytes
from recall_bench.model.weights import keep_weights
from recall_bench.store.record import (
    CurvePoint,
    GenerationScore,
    Memory,
    Timing,
    TrainingRecord,
    named,
    now,
)
from recall_bench.store.runs import CHECKPOINT
from recall_bench.tasks import Split
from recall_bench.training import environment
from recall_bench.training.batches import SegmentData, load_split
from recall_bench.training.checkpoint import Position, restore, save
from recall_bench.training.device import device_lost_reported, precision_of, resolve_device
from recall_bench.training.graphs import make_steps
from recall_bench.training.optimizer import AdamW
from recall_bench.training.peak_memory import PeakMemory
from recall_bench.training.progress import Interrupted, Progress
from recall_bench.training.scores import Evaluation, evaluate, with_limits
from recall_bench.training.scoring import make_scorer, score
from recall_bench.training.stopwatch import Stopwatch

CHECKPOINT_SECONDS = 20.0
"""Training time between checkpoints: the most that an interruption costs."""
HEARTBEAT_SECONDS = 0.25
"""Time between checks of ``stop`` and calls of ``on_progress``."""

__all__ = ["Interrupted", "Progress", "learning_rate_at", "schedule", "train"]


def train(
    config: RunConfig,
    *,
    directory: Path | None = None,
    device: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    keep: bool = False,
) -> TrainingRecord:
    """Train and evaluate one run.

    With a ``directory`` the run keeps a checkpoint there and continues from it; an interrupted run
    gives exactly the same scores as an uninterrupted one. Once ``stop`` returns True, the run
    writes the checkpoint and raises `Interrupted`. A run whose loss is no longer finite ends with a
    record of status "diverged". ``keep`` leaves the weights of a finished run in the directory
    (`model.weights`). Raises `DeviceLost` where the CUDA context is lost.
    """
    place = resolve_device(device)
    with (
        device_lost_reported(place),
        isolated_rng(config.seed, place),
        precision_of(config.training.precision, place),
    ):
        run = _Run(config, directory, place, on_progress, stop)
        record = run.execute()
        if keep and directory and record.status == "finished":
            keep_weights(directory, config, run.model)
        return record


def learning_rate_at(epoch: int, config: TrainingConfig) -> float:
    """Cosine from the peak towards zero, stepped once an epoch, no warm-up."""
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))


def schedule(data: list[SegmentData], config: TrainingConfig) -> list[tuple[int, int]]:
    """The batches of an epoch: (segment's index, first row). Every epoch takes the same ones."""
    batches = [
        (start / len(part.inputs), index, start)
        for index, part in enumerate(data)
        for start in range(0, len(part.inputs), config.batch_size)
    ]
    if config.order == "interleaved":
        batches.sort()
    return [(index, start) for _, index, start in batches]


class _Run:
    """The state of one training, from data to record."""

    def __init__(
        self,
        config: RunConfig,
        directory: Path | None,
        device: torch.device,
        on_progress: Callable[[Progress], None] | None,
        stop: Callable[[], bool] | None,
    ):
        self.config, self.recipe = config, config.training
        self.run_id = config.run_id
        self.checkpoint = directory / CHECKPOINT if directory else None
        self.device = device
        self.on_progress, self.stop = on_progress, stop
        self.started = now()
        self.peak = PeakMemory(device)
        self.state_length = max(segment.length for segment in config.task.segments("test"))
        self.state_layers = measure_layers(config.architecture, self.state_length, real=device)
        dispatch.reset()  # forgets what measuring ran

        self.position = Position()
        self.watch = Stopwatch()
        self.data: dict[Split, list[SegmentData]] = {}
        self.hashes: dict[str, str] = {}
        splits: tuple[Split, ...] = ("train", "validation", "test")
        for split in splits:
            self.data[split], self.hashes[split] = load_split(
                config.task, split, config.seed, device
            )
        self._spent("data_seconds")
        self.model: Model = build_model(config).to(device)
        rate, decay = self.recipe.learning_rate, self.recipe.weight_decay
        self.optimizer = AdamW(self.model.parameters(), rate, decay)
        self.batches = schedule(self.data["train"], self.recipe)
        self.curve: list[CurvePoint] = []
        self.validation: Evaluation | None = None
        sums: dict[str, Tensor] = {}
        if self.checkpoint and (
            restored := restore(self.checkpoint, self.model, self.optimizer, device)
        ):
            restored.position.data_seconds += self.position.data_seconds
            self.position, self.curve, sums = restored
        self.saved_at = self.position.seconds
        self._spent("setup_seconds")
        self.steps = make_steps(self.model, self.optimizer, self.data["train"], self.recipe)
        self.steps.load_sums(sums)
        self.validate = make_scorer(
            self.model,
            self.data["validation"],
            self.recipe.evaluation_batch_size,
            graph=self.steps.graphs,
        )
        self._spent("capture_seconds" if device.type == "cuda" else "setup_seconds")

    def _spent(self, phase: str) -> None:
        """Add the time since the last call to a phase, and what kernels took to compile."""
        seconds, compiling = self.watch.lap()
        setattr(self.position, phase, getattr(self.position, phase) + seconds)
        self.position.compile_seconds += compiling

    def execute(self) -> TrainingRecord:
        reason = None
        while self.position.epoch < self.recipe.epochs:
            self._epoch()
            reason = self._close_epoch()
            if reason or self._good_enough():
                break
        test = None if reason else self._evaluate("test")
        return self._record(test, reason, self._generate() if test else [])

    def _epoch(self) -> None:
        """The rest of the current epoch; ends early once the loss is no longer finite."""
        self.optimizer.set_rate(learning_rate_at(self.position.epoch, self.recipe))
        if self.position.batch == 0:
            self.steps.begin_epoch()
        self.model.train()
        self._spent("setup_seconds")
        while self.position.batch < len(self.batches):
            index, start = self.batches[self.position.batch]
            self.position.tokens += self.steps.take(index, start)
            self.position.batch += 1
            self.position.step += 1
            last = self.position.batch == len(self.batches)
            if self.watch.peek() > HEARTBEAT_SECONDS or last:
                # Reading the loss waits for a GPU; there it is read once, after the last batch.
                readable = last or self.device.type == "cpu"
                finite = not readable or math.isfinite(self.steps.loss.item())
                self._spent("train_seconds")
                self._heartbeat()
                self._spent("setup_seconds")
                if not finite:
                    return

    def _heartbeat(self) -> None:
        """Report progress, write a checkpoint where one is due, and stop where asked to."""
        if self.on_progress:
            self.on_progress(
                Progress(
                    run_id=self.run_id,
                    epoch=self.position.epoch,
                    epochs=self.recipe.epochs,
                    step=self.position.step,
                    steps=self.recipe.epochs * len(self.batches),
                    validation_accuracy=self.curve[-1].validation_accuracy if self.curve else None,
                    seconds=self.position.seconds,
                )
            )
        stopping = self.stop is not None and self.stop()
        if stopping or self.position.seconds - self.saved_at > CHECKPOINT_SECONDS:
            self._save()
        if stopping:
            raise Interrupted(f"{self.run_id} was interrupted in epoch {self.position.epoch + 1}")

    def _close_epoch(self) -> str | None:
        """Validate and add a point to the curve; returns why the run has diverged, if it has."""
        loss = self.steps.loss.item() / self.position.batch
        if not math.isfinite(loss):
            where = f"epoch {self.position.epoch + 1}, step {self.position.step}"
            return f"training loss was {loss} in {where}"
        self.validation = validation = self._evaluate("validation")
        if not math.isfinite(validation.loss):
            return f"validation loss was {validation.loss} after epoch {self.position.epoch + 1}"
        self.curve.append(
            CurvePoint(
                epoch=self.position.epoch + 1,
                step=self.position.step,
                learning_rate=learning_rate_at(self.position.epoch, self.recipe),
                train_loss=loss,
                validation_accuracy=validation.accuracy,
                validation_loss=validation.loss,
                seconds=self.position.train_seconds,
                auxiliary={
                    name: total.item() / self.position.batch
                    for name, total in self.steps.auxiliary.items()
                },
            )
        )
        self.position.epoch += 1
        self.position.batch = 0
        return None

    def _good_enough(self) -> bool:
        threshold = self.recipe.early_stop
        return threshold is not None and self.curve[-1].validation_accuracy > threshold

    def _evaluate(self, split: Literal["validation", "test"]) -> Evaluation:
        self._spent("setup_seconds")
        if split == "validation":
            result = evaluate(self.validate(), self.data[split], split, details=False)
        else:
            scores = score(self.model, self.data[split], self.recipe.evaluation_batch_size)
            result = evaluate(scores, self.data[split], split)
        self._spent("evaluation_seconds")
        return result

    def _generate(self) -> list[GenerationScore]:
        """Scores of generated answers to the test prompts; empty if the run cannot generate any."""
        if not self.config.task.prompted or not self.model.recurrent:
            return []
        self._spent("setup_seconds")
        batch = self.recipe.evaluation_batch_size
        scores = decoding.score(self.model, self.config.task, self.config.seed, self.device, batch)
        self._spent("evaluation_seconds")
        return scores

    def _save(self) -> None:
        """Write the checkpoint where the run keeps one."""
        self.saved_at = self.position.seconds
        if self.checkpoint:
            save(
                self.checkpoint,
                self.run_id,
                self.model,
                self.optimizer,
                self.position,
                self.curve,
                self.steps.sums(),
            )

    def _record(
        self, test: Evaluation | None, reason: str | None, generation: list[GenerationScore]
    ) -> TrainingRecord:
        position, validation = self.position, self.validation if test else None
        ran = environment.describe(self.config, self.device) | {"step": self.steps.how}
        return TrainingRecord(
            **named(self.config),
            status="finished" if test else "diverged",
            reason=reason,
            data_hash=self.hashes,
            validation_accuracy=validation.accuracy if validation else None,
            test_accuracy=test.accuracy if test else None,
            test_loss=test.loss if test else None,
            segments=(
                with_limits([*validation.segments, *test.segments], self.config)
                if validation and test
                else []
            ),
            slices=test.slices if test else [],
            generation=generation,
            data=report.to_json() if (report := self.config.task.report()) else {},
            curve=self.curve,
            memory=self._memory(),
            timing=Timing(
                wall_seconds=self.position.seconds,
                train_seconds=position.train_seconds,
                evaluation_seconds=position.evaluation_seconds,
                data_seconds=position.data_seconds,
                setup_seconds=position.setup_seconds,
                **self._gpu_phases(),
                steps=position.step,
                tokens_per_second=position.tokens / max(position.train_seconds, 1e-9),
                resumed=position.resumed,
            ),
            environment=ran,
            started=self.started,
            finished=now(),
        )

    def _gpu_phases(self) -> dict[str, float]:
        """The phases that a CPU does not have."""
        if self.device.type == "cpu":
            return {}
        return {
            "compile_seconds": self.position.compile_seconds,
            "capture_seconds": self.position.capture_seconds,
        }

    def _memory(self) -> Memory:
        return Memory(
            state_bytes=total_bytes(self.state_layers),
            state_length=self.state_length,
            state_dtype=dtypes(self.state_layers),
            layers=self.state_layers,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            peak_bytes=self.peak.read(),
        )
