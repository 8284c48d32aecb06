"""Models to evaluate: Hugging Face models and our own runs, with their names and sizes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recall_bench import registry
from recall_bench.config import build
from recall_bench.errors import UserError
from recall_bench.evals.harness.states import MeasuredState, measure_state
from recall_bench.model.state_size import dtypes, measure_layers
from recall_bench.store.runs import RECORD

if TYPE_CHECKING:
    from lm_eval.api.model import TemplateLM
    from lm_eval.models.huggingface import HFLM

DECIDING = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.json", "*.model", "*.txt")
"""Files of a model that may change its output: weights, configurations, the tokeniser."""
PADDING_TOLERANCE = 0.05
"""The change of a logit by padding, relative to the largest, that half precision may cause."""


@dataclass(frozen=True)
class Subject:
    """A model to evaluate: the harness's model, its name and settings, and its sizes."""

    lm: "TemplateLM"
    name: str
    knobs: dict[str, Any]
    """Settings that distinguish models of the same name; part of the run id."""
    parameters: int
    max_length: int | None
    """Tokens, including the answer; longer prompts lose their beginning. None: any length."""
    measure: Callable[[int], MeasuredState]
    """The state of one sequence after a number of tokens."""


def load_hugging_face(
    model: str,
    *,
    device: torch.device,
    dtype: str,
    batch_size: int,
    max_length: int | None,
    trust_remote_code: bool,
) -> Subject:
    """A causal model from a directory or the hub, loaded by the harness. Raises `UserError`."""
    from lm_eval.models.huggingface import HFLM

    try:
        lm = HFLM(
            pretrained=model,
            backend="causal",
            device=str(device),
            dtype=dtype,
            batch_size=batch_size,
            max_length=max_length,
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # broken files make their libraries raise errors of many types
        raise UserError(_cannot_load(model, error)) from error
    if batch_size > 1:
        _check_padding(lm, batch_size)
    path = Path(model)
    commit = getattr(lm.config, "_commit_hash", None)
    knobs = {
        "model": path.resolve().name if path.is_dir() else model,
        "type": lm.config.model_type,
        "content": content_hash(path) if path.is_dir() else str(commit)[:16],
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "max_length": lm.max_length,
    }
    parameters = sum(parameter.numel() for parameter in lm.model.parameters())
    name = knobs["model"].rpartition("/")[2]
    return Subject(lm, name, knobs, parameters, lm.max_length, partial(measure_state, lm.model))


def is_run(directory: Path) -> bool:
    """Whether a directory has the files of a run of a store."""
    return (directory / RECORD).exists()


def load_own_run(
    directory: Path, *, device: torch.device, batch_size: int, max_length: int | None
) -> Subject:
    """One of our own trained runs, decoding through its recurrent step. Raises `UserError`."""
    from recall_bench.evals.harness.checkpoint import CheckpointLM

    lm = CheckpointLM(str(directory), str(device), batch_size, max_length)
    record = lm.kept.record
    architecture = build(registry.architectures, record.config["architecture"])

    def measure(length: int) -> MeasuredState:
        layers = measure_layers(architecture, length, real=device)
        return MeasuredState(length, dtypes(layers), layers)

    knobs = {k: v for k, v in record.options["architecture"].items() if k != "name"}
    knobs |= {"run": record.run_id, "max_length": max_length}
    parameters = sum(parameter.numel() for parameter in lm.kept.model.parameters())
    return Subject(lm, architecture.name, knobs, parameters, max_length, measure)


def content_hash(directory: Path) -> str:
    """SHA-256, 16 digits, of the files in a directory that determine its model's output."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in DECIDING for file in directory.glob(pattern)}):
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def _cannot_load(model: str, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".") or "no reason given"
    if "trust_remote_code" in reason:
        return (
            f"The model {model} brings code of its own, which is not run unless you ask for it. "
            f"Read that code; if you trust it, add --trust-remote-code {model}."
        )
    if isinstance(error, OSError) and not Path(model).exists():
        return (
            f"Cannot find the model {model}: it is not a local directory, and neither in the cache "
            f"of transformers nor available from the hub ({reason}). "
            f"Expected a directory that save_pretrained wrote, a run of the store that kept its "
            f"weights, or a name on the hub such as EleutherAI/pythia-160m."
        )
    return f"Cannot load the model {model}: {type(error).__name__}: {reason}."


@torch.no_grad()
def _check_padding(lm: "HFLM", batch_size: int) -> None:
    """Raises `UserError` if padding on the left changes the model's output, as with RWKV."""
    prompt = torch.tensor([lm.tok_encode("The capital of France is")], device=lm.device)
    pad = torch.full((1, 7), lm.tokenizer.pad_token_id, device=lm.device)

    def logits(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        generated = lm.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=1,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=lm.tokenizer.pad_token_id,
        )
        return generated.logits[0].float()

    alone = logits(prompt, torch.ones_like(prompt))
    mask = torch.cat([torch.zeros_like(pad), torch.ones_like(prompt)], 1)
    padded = logits(torch.cat([pad, prompt], 1), mask)
    moved = ((padded - alone).abs().max() / alone.abs().max()).item()
    if not moved < PADDING_TOLERANCE:
        raise UserError(
            f"--batch-size {batch_size}: {type(lm.model).__name__} reads padding as text (it "
            f"changes the logits by {moved:.0%}), so answers would depend on the other prompts of "
            f"the batch. Use --batch-size 1."
        )
