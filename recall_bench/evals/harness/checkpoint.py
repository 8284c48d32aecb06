"""Our own trained runs as models of the harness: greedy decoding through the recurrent step.

Importing this module registers the model ``recall-bench`` with the harness. Its argument ``run`` is
a directory of the store that has a record and weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from torch.nn import functional as F

from recall_bench.documents.tokens import Codec
from recall_bench.errors import UserError
from recall_bench.model.decoding import greedy, group_equal
from recall_bench.model.weights import KeptRun, load_weights
from recall_bench.store.record import TrainingRecord
from recall_bench.store.runs import ResultStore
from recall_bench.tasks import IGNORE
from recall_bench.training.device import resolve_device

NEWLINE = "\n"


@register_model("recall-bench")
class CheckpointLM(TemplateLM):
    """A run that was trained on text. Only prompts of equal length share a batch: no padding.

    ``max_length`` is in tokens and includes the answer; longer prompts lose their beginning, as
    with the harness's own models. None allows any length.
    """

    def __init__(
        self,
        run: str,
        device: str | None = None,
        batch_size: int | str | None = 1,
        max_length: int | None = None,
        max_batch_size: int | None = None,
    ):
        super().__init__()
        self.place = resolve_device(device or "auto")
        self.kept = load_run(Path(run), self.place)
        self.batch_size = int(batch_size or 1)
        self.max_length = None if max_length is None else int(max_length)

    @property
    def codec(self) -> Codec:
        assert self.kept.codec is not None
        return self.kept.codec

    @property
    def eot_token_id(self) -> int:
        return self.codec.pad

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        return self.codec.encode(string)

    def tok_decode(self, tokens: Sequence[int]) -> str:
        return self.codec.decode(tokens)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations, each up to the first stop string of its request."""
        generated: dict[int, str] = {}
        prompts: list[list[int]] = []
        keys: list[tuple[int, int, str]] = []
        settings = [dict(request.args[1]) for request in requests]
        for number, request in enumerate(requests):
            _check_greedy(settings[number])
            most = int(settings[number].get("max_gen_toks", 256))
            prompt = self.tok_encode(request.args[0]) or [self.eot_token_id]
            if self.max_length is not None:
                prompt = prompt[-(self.max_length - most) :]
            stops = repr(settings[number].get("until"))
            prompts.append(prompt)
            keys.append((len(prompt), most, stops))
        for numbers in group_equal(keys, self.batch_size):
            _, most, _ = keys[numbers[0]]
            until = _listed(settings[numbers[0]].get("until"))
            texts = self._continue([prompts[number] for number in numbers], most, until)
            generated.update(zip(numbers, texts, strict=True))
        return [generated[number] for number in range(len(requests))]

    def _continue(self, prompts: list[list[int]], most: int, until: list[str]) -> list[str]:
        """Continue prompts of one length."""
        tokens = torch.tensor(prompts, device=self.place)
        stops = self.codec.stops if NEWLINE in until else ()
        made = greedy(self.kept.model, tokens, most, stops)  # (B, at most `most`)
        texts = [self.codec.decode(t for t in row if t != IGNORE) for row in made.tolist()]
        return [
            min((text.partition(stop)[0] for stop in until), key=len, default=text)
            for text in texts
        ]

    @torch.no_grad()
    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Log-probability of continuations in nats, and whether greedy decoding generates them."""
        scores = []
        for _, context, continuation in requests:
            tokens = torch.tensor([[*context, *continuation]], device=self.place)
            hidden = self.kept.model(tokens[:, :-1])[0, -len(continuation) :]
            logits = self.kept.model.logits(hidden).float()  # (continuation, vocabulary)
            wanted = tokens[0, -len(continuation) :]
            loss = F.cross_entropy(logits, wanted, reduction="sum").item()
            scores.append((-loss, bool((logits.argmax(-1) == wanted).all())))
        return scores

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probability of whole texts, in nats."""
        texts = [self.tok_encode(request.args[0]) for request in requests]
        whole = [(None, [self.prefix_token_id], text) for text in texts]
        return [score for score, _ in self._loglikelihood_tokens(whole)]


def load_run(directory: Path, device: torch.device) -> KeptRun:
    """Load a run that was trained on text; raises `UserError` for anything else."""
    record = ResultStore(directory.parent).read(directory.name)
    if not isinstance(record, TrainingRecord):
        raise UserError(
            f"The record in {directory} is of the kind '{record.kind}'. Expected a training that "
            f"kept its weights."
        )
    kept = load_weights(record, directory, device)
    if kept.codec is None:
        raise UserError(
            f"The run {record.run_id} was trained on {record.config['task']['name']}, whose tokens "
            f"are not text. Expected a run of a task such as swde or squad."
        )
    if not kept.model.recurrent:
        raise UserError(
            f"The run {record.run_id} has a layer without a recurrent form, which cannot continue "
            f"a prompt. Expected a run whose layers all have one."
        )
    return kept


def _check_greedy(arguments: dict[str, Any]) -> None:
    if arguments.get("do_sample") or arguments.get("temperature", 0.0):
        raise UserError(f"Our runs decode greedily; the task asks for sampling: {arguments}.")


def _listed(until: Any) -> list[str]:
    return [until] if isinstance(until, str) else list(until or [])
