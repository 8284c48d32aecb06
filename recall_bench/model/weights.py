"""Saves the weights of a finished run and rebuilds the model from them.

The file beside the record is self-contained: loading it needs neither the data nor the tokeniser's
cache.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import torch

from recall_bench.config import RunConfig
from recall_bench.documents.tokens import Codec, restore_codec
from recall_bench.errors import UserError
from recall_bench.model.backbone import Model, build_model
from recall_bench.plugins.registration import one_line
from recall_bench.store.files import write_file
from recall_bench.store.record import TrainingRecord

WEIGHTS = "weights.pt"


@dataclass(frozen=True)
class KeptRun:
    """A trained model in evaluation mode, with the codec of its tokens if they are text."""

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
    """Load the model of a run from its directory; raises `UserError` if it kept no weights."""
    file = directory / WEIGHTS
    if not file.exists():
        raise UserError(
            f"The run {record.run_id} kept no weights: {file} does not exist. Train it again with "
            f"--keep-weights and another --store."
        )
    model = build_model(RunConfig.model_validate(record.config))
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(content["model"])
        codec = restore_codec(content["codec"]) if content["codec"] else None
    except UserError:
        raise
    except Exception as error:  # a damaged file makes torch raise errors of many types
        raise UserError(
            f"{file} cannot be read: {one_line(error)}. Expected the weights of {record.run_id}."
        ) from error
    model.to(device).eval()
    return KeptRun(record, model, codec)
