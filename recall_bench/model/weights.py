"""The weights of a finished run, kept where they are asked for, and the model made of them again.

A file by itself, beside the record: it needs neither the data nor the tokeniser's cache.
"""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch

from recall_bench.config import RunConfig
from recall_bench.documents.tokens import Codec, restore_codec
from recall_bench.errors import UserError
from recall_bench.model.backbone import Model, build_model
from recall_bench.store.files import write_file
from recall_bench.store.record import TrainingRecord

WEIGHTS = "weights.pt"


@dataclass(frozen=True)
class KeptRun:
    """A trained model, in evaluation mode, and how its tokens are text, if they are."""

    record: TrainingRecord
    model: Model
    codec: Codec | None


def keep_weights(directory: Path, config: RunConfig, model: Model) -> None:
    """Write the weights of a run into its directory. Raises `StoreError`."""
    codec = config.task.codec()
    content = {
        "run_id": config.run_id,
        "model": {name: value.cpu() for name, value in model.state_dict().items()},
        "codec": codec.serialise() if codec else None,
    }
    packed = io.BytesIO()
    torch.save(content, packed)
    write_file(directory / WEIGHTS, packed.getvalue())


def load_weights(record: TrainingRecord, directory: Path, device: torch.device) -> KeptRun:
    """The model of a run from its directory; raises `UserError` where no weights were kept."""
    file = directory / WEIGHTS
    if not file.exists():
        raise UserError(
            f"The run {record.run_id} kept no weights: there is no {file}. Train it with "
            f"--keep-weights, in another --store, where it is not finished."
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    model = build_model(RunConfig.model_validate(record.config))
    model.load_state_dict(content["model"])
    model.to(device).eval()
    codec = restore_codec(content["codec"]) if content["codec"] else None
    return KeptRun(record, model, codec)
