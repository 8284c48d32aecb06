"""The only training loop: one run, from its configuration to its record."""

import io
import math
import pickle
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from recall_bench.config import RunConfig, TrainingConfig
from recall_bench.kernels.plumbing import dispatch
from recall_bench.model import decoding
from recall_bench.model.backbone import Model, build_model, isolated_rng
from recall_bench.model.state_size import PeakMemory, measure_layers
from recall_bench.model.weights import keep_weights
from recall_bench.store.files import write_file
from recall_bench.store.record import CurvePoint, GenerationScore, Memory, Record, Timing, now
from recall_bench.store.runs import CHECKPOINT
from recall_bench.tasks import Split
from recall_bench.training import environment
from recall_bench.training.batches import SegmentData, load_split
from recall_bench.training.device import lost_device_told, precision_of, resolve_device
from recall_bench.training.optimizer import AdamW
from recall_bench.training.scores import Evaluation, evaluate, with_limits
from recall_bench.training.scoring import make_scorer, score
from recall_bench.training.steps import make_steps

CHECKPOINT_SECONDS = 20.0
"""Training time between checkpoints: the most that an interruption costs."""
CHECKPOINT_FORMAT = 2
"""Version of what a checkpoint holds; others are not continued from."""
HEARTBEAT_SECONDS = 0.25
"""Time between looks at ``stop`` and calls of ``on_progress``."""


class Interrupted(Exception):
    """Training was asked to stop; its checkpoint is written and the next call continues."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    run_id: str
    epoch: int
    epochs: int
    step: int
    steps: int
    validation_accuracy: float | None
    seconds: float


@dataclass
class Position:
    """How far training has come: what a checkpoint holds beside weights and optimiser."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    data_seconds: float = 0.0
    resumed: int = 0


def train(
    config: RunConfig,
    *,
    directory: Path | None = None,
    device: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    keep: bool = False,
) -> Record:
    """Train and evaluate one run.

    With a ``directory``, a checkpoint is kept there and continued from: the record is that of an
    uninterrupted run. When ``stop`` returns True the checkpoint is written and `Interrupted`
    raised. A run whose loss is no longer finite ends with a record of status "diverged".
    ``keep`` leaves the weights of a finished run in the directory (`model.weights`). Raises
    `DeviceLost` where the process can use its GPU no more.
    """
    place = resolve_device(device)
    with (
        lost_device_told(place),
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
        dispatch.reset()

        began = time.perf_counter()
        self.data: dict[Split, list[SegmentData]] = {}
        self.hashes: dict[str, str] = {}
        splits: tuple[Split, ...] = ("train", "validation", "test")
        for split in splits:
            self.data[split], self.hashes[split] = load_split(
                config.task, split, config.seed, device
            )
        self.model: Model = build_model(config).to(device)
        rate, decay = self.recipe.learning_rate, self.recipe.weight_decay
        self.optimizer = AdamW(self.model.parameters(), rate, decay)
        self.batches = schedule(self.data["train"], self.recipe)
        self.at = Position()
        self.curve: list[CurvePoint] = []
        self.validation: Evaluation | None = None
        self.saved_at = 0.0
        loss = self._restore()
        self.steps = make_steps(self.model, self.optimizer, self.data["train"], self.recipe)
        self.steps.loss += loss
        self.validate = make_scorer(
            self.model,
            self.data["validation"],
            self.recipe.evaluation_batch_size,
            graph=self.steps.graphs,
        )
        self.at.data_seconds += time.perf_counter() - began

    def execute(self) -> Record:
        reason = None
        while self.at.epoch < self.recipe.epochs:
            self._epoch()
            reason = self._close_epoch()
            if reason or self._good_enough():
                break
        test = None if reason else self._evaluate("test")
        return self._record(test, reason, self._generate() if test else [])

    def _epoch(self) -> None:
        """The rest of the current epoch; ends early once the loss is no longer finite."""
        self.optimizer.set_rate(learning_rate_at(self.at.epoch, self.recipe))
        if self.at.batch == 0:
            self.steps.loss.zero_()
        self.model.train()
        lap = time.perf_counter()
        while self.at.batch < len(self.batches):
            index, start = self.batches[self.at.batch]
            self.at.tokens += self.steps.take(index, start)
            self.at.batch += 1
            self.at.step += 1
            now = time.perf_counter()
            last = self.at.batch == len(self.batches)
            if now - lap > HEARTBEAT_SECONDS or last:
                # Inside an epoch nothing waits for a GPU: its loss is looked at in the end.
                look = last or self.device.type == "cpu"
                finite = not look or math.isfinite(self.steps.loss.item())
                self.at.train_seconds += time.perf_counter() - lap
                self._heartbeat()
                if not finite:
                    return
                lap = time.perf_counter()

    def _heartbeat(self) -> None:
        """Report progress, keep the checkpoint fresh, and stop where asked to."""
        if self.on_progress:
            self.on_progress(
                Progress(
                    run_id=self.run_id,
                    epoch=self.at.epoch,
                    epochs=self.recipe.epochs,
                    step=self.at.step,
                    steps=self.recipe.epochs * len(self.batches),
                    validation_accuracy=self.curve[-1].validation_accuracy if self.curve else None,
                    seconds=self._seconds(),
                )
            )
        stopping = self.stop is not None and self.stop()
        if stopping or self._seconds() - self.saved_at > CHECKPOINT_SECONDS:
            self._save()
        if stopping:
            raise Interrupted(f"{self.run_id} was interrupted in epoch {self.at.epoch + 1}")

    def _close_epoch(self) -> str | None:
        """Validate and add to the curve; the reason where the run has diverged."""
        loss = self.steps.loss.item() / self.at.batch
        if not math.isfinite(loss):
            return f"training loss was {loss} in epoch {self.at.epoch + 1}, step {self.at.step}"
        self.validation = validation = self._evaluate("validation")
        if not math.isfinite(validation.loss):
            return f"validation loss was {validation.loss} after epoch {self.at.epoch + 1}"
        self.curve.append(
            CurvePoint(
                epoch=self.at.epoch + 1,
                step=self.at.step,
                learning_rate=learning_rate_at(self.at.epoch, self.recipe),
                train_loss=loss,
                validation_accuracy=validation.accuracy,
                validation_loss=validation.loss,
                seconds=self.at.train_seconds,
            )
        )
        self.at.epoch += 1
        self.at.batch = 0
        return None

    def _good_enough(self) -> bool:
        threshold = self.recipe.early_stop
        return threshold is not None and self.curve[-1].validation_accuracy > threshold

    def _evaluate(self, split: Literal["validation", "test"]) -> Evaluation:
        began = time.perf_counter()
        if split == "validation":
            result = evaluate(self.validate(), self.data[split], split, details=False)
        else:
            scores = score(self.model, self.data[split], self.recipe.evaluation_batch_size)
            result = evaluate(scores, self.data[split], split)
        self.at.evaluation_seconds += time.perf_counter() - began
        return result

    def _generate(self) -> list[GenerationScore]:
        """The test prompts continued by the model, where the task has any."""
        if not self.config.task.prompted:
            return []
        began = time.perf_counter()
        batch = self.recipe.evaluation_batch_size
        scores = decoding.score(self.model, self.config.task, self.config.seed, self.device, batch)
        self.at.evaluation_seconds += time.perf_counter() - began
        return scores

    def _seconds(self) -> float:
        return self.at.train_seconds + self.at.evaluation_seconds + self.at.data_seconds

    def _save(self) -> None:
        """Write the checkpoint; raises `StoreError` where the disk is full."""
        self.saved_at = self._seconds()
        if self.checkpoint is None:
            return
        cuda = self.device.type == "cuda"
        content = {
            "format": CHECKPOINT_FORMAT,
            "run_id": self.run_id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch_loss": self.steps.loss,
            "position": asdict(self.at),
            "curve": [point.model_dump() for point in self.curve],
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if cuda else None,
        }
        packed = io.BytesIO()
        torch.save(content, packed)
        write_file(self.checkpoint, packed.getvalue())

    def _restore(self) -> float:
        """Continue from the checkpoint if there is one; an unreadable one is set aside aloud.

        Returns the sum of the losses of the current epoch.
        """
        if self.checkpoint is None or not self.checkpoint.exists():
            return 0.0
        try:
            content = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            warnings.warn(
                f"{self.checkpoint} cannot be read ({error}); the run starts again.", stacklevel=2
            )
            return 0.0
        if content.get("format") != CHECKPOINT_FORMAT:
            warnings.warn(
                f"{self.checkpoint} is of another version; the run starts again.", stacklevel=2
            )
            return 0.0
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.at = Position(**content["position"])
        self.at.resumed += 1
        self.curve = [CurvePoint(**point) for point in content["curve"]]
        torch.set_rng_state(content["rng"].cpu())
        if content["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(content["cuda_rng"].cpu(), self.device)
        self.saved_at = self._seconds()
        loss: float = content["epoch_loss"].item()
        return loss

    def _record(
        self, test: Evaluation | None, reason: str | None, generation: list[GenerationScore]
    ) -> Record:
        at, validation = self.at, self.validation if test else None
        # Before memory is measured, by operations that the run itself need not have used.
        ran = environment.describe(self.config, self.device) | {"step": self.steps.how}
        return Record(
            run_id=self.run_id,
            status="finished" if test else "diverged",
            reason=reason,
            config=self.config.model_dump(mode="json"),
            versions=self.config.versions,
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
                wall_seconds=self._seconds(),
                train_seconds=at.train_seconds,
                evaluation_seconds=at.evaluation_seconds,
                data_seconds=at.data_seconds,
                steps=at.step,
                tokens_per_second=at.tokens / max(at.train_seconds, 1e-9),
                resumed=at.resumed,
            ),
            environment=ran,
            started=self.started,
            finished=now(),
        )

    def _memory(self) -> Memory:
        length = max(part.segment.length for part in self.data["test"])
        place = "cpu" if self.device.type == "cpu" else "meta"
        layers = measure_layers(self.config.architecture, length, place=place)
        return Memory(
            state_bytes=sum(layer.bytes for layer in layers),
            state_length=length,
            state_dtype="float32",
            layers=layers,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            peak_bytes=self.peak.read(),
        )
