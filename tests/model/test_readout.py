"""The readout of MAD's compression task sees the last token's vector and a position, no more."""

import pytest
import torch

from recall_bench import registry
from recall_bench.config import ModelConfig, build
from recall_bench.model.backbone import Model, isolated_rng
from recall_bench.training.scoring import query_logits

TOKENS, LENGTH = 11, 12


def model_of(width: int = 16, layers: str = "self", readout: str = "sequence") -> Model:
    knobs = {"name": "attention", "d_model": width, "layers": layers}
    with isolated_rng(0):
        return Model(build(registry.architectures, knobs), ModelConfig(), TOKENS, readout).eval()


def test_logits_at_a_position_follow_the_last_vector_and_the_position_alone() -> None:
    model, inputs = model_of(), torch.arange(LENGTH).remainder(TOKENS).expand(2, -1).clone()
    inputs[1, 3] = 0  # anywhere in the sequence: every logit may depend on it
    positions = torch.tensor([[3, 0, 11], [3, 0, 11]])
    logits = query_logits(model, inputs, positions)
    assert logits.shape == (2, 3, TOKENS)
    assert (logits[0] != logits[1]).any(-1).all()
    assert (logits[0, 0] != logits[0, 1]).any()
    last = model(inputs)[:, -1]
    torch.testing.assert_close(model.sequence_readout(last, positions), logits)
    swapped = query_logits(model, inputs, positions.flip(1))
    torch.testing.assert_close(swapped, logits.flip(1))


def test_what_the_last_token_does_not_see_cannot_be_read_back() -> None:
    """A window of one token: the rest of the sequence changes nothing."""
    knobs = {"name": "sliding-window", "d_model": 16, "window": 1, "layers": "self+self"}
    with isolated_rng(0):
        architecture = build(registry.architectures, knobs)
        model = Model(architecture, ModelConfig(), TOKENS, "sequence").eval()
    inputs = torch.randint(TOKENS, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    inputs[1, -1] = inputs[0, -1]
    logits = query_logits(model, inputs, torch.arange(LENGTH).expand(2, -1))
    assert torch.equal(logits[0], logits[1])


def test_every_parameter_of_the_readout_learns_and_an_odd_width_works() -> None:
    model = model_of(width=7)
    logits = query_logits(model, torch.ones(2, 5, dtype=torch.int64), torch.arange(5).expand(2, -1))
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in model.sequence_readout.parameters()]
    assert len(gradients) == 12
    assert all(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("width", [2, 16])
def test_positions_are_told_apart_by_fixed_sines_and_cosines(width: int) -> None:
    readout = model_of(width).sequence_readout
    rates = [10_000 ** (-i / max(width // 2 - 1, 1)) for i in range(width // 2)]
    assert readout.frequencies.tolist() == pytest.approx(rates)
    assert "frequencies" not in dict(readout.named_parameters())


def test_a_model_that_reads_tokens_has_no_such_readout() -> None:
    assert model_of(readout="token").sequence_readout is None
