import pytest
import torch
from torch import Tensor

from recall_bench.kernels.gated_linear import gated_linear, naive, reference
from recall_bench.kernels.wkv import naive as naive_wkv

TOLERANCE = {"rtol": 1e-11, "atol": 1e-11}


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    q, k = (draw(2, length, 2, 4, seed=seed, dtype=dtype) for seed in range(2))
    return [q, k, draw(2, length, 2, 3, seed=2, dtype=dtype)]


def run(*tensors: Tensor | None, **options: Tensor) -> tuple[Tensor, Tensor]:
    y, S = gated_linear(*tensors, return_state=True, **options)
    return y, S


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "CHUNK", 8)


DECAYS = [(2,), (2, 21, 2), (2, 21, 2, 4)]


@pytest.mark.parametrize("shape", DECAYS)
@pytest.mark.parametrize("bonus", [False, True])
@pytest.mark.usefixtures("short_chunks")
def test_chunks_and_their_remainder_follow_the_recurrence(
    shape: tuple[int, ...], bonus: bool
) -> None:
    """Outputs, the last state and all gradients, from a state."""
    given = [*inputs(21), -draw(*shape, seed=3).exp(), *([draw(2, 4)] if bonus else [])]
    start = draw(2, 2, 4, 3, seed=4)
    tensors = [x.requires_grad_() for x in (*given, start)]
    slopes = draw(2, 21, 2, 3, seed=5), draw(2, 2, 4, 3, seed=6)
    results = run(*given, initial_state=start)
    expected = naive.gated_linear(*given, initial_state=start)
    torch.testing.assert_close(results, expected, **TOLERANCE)
    torch.testing.assert_close(
        torch.autograd.grad(results, tensors, slopes),
        torch.autograd.grad(expected, tensors, slopes),
        **TOLERANCE,
    )


@pytest.mark.parametrize("rate", [0.0, -30.0, -float("inf")])
@pytest.mark.parametrize("axes", [3, 4])
def test_a_chunk_that_keeps_or_forgets_everything_is_exact_amid_others(
    rate: float, axes: int
) -> None:
    """Also between gentle decays, where a difference of two large sums would lose digits."""
    given = [x.float() for x in inputs(200)]
    decay = -draw(2, 200, 2, 4, seed=3).square()[(..., 0)[: 5 - axes]] / 10
    decay[:, 64:128] = rate
    decay[:, 150::7] = rate
    given.append(decay.float())
    expected = naive.gated_linear(*(x.double() for x in given))
    for x in given:
        x.requires_grad_()
    y, S = run(*given)
    torch.testing.assert_close((y.double(), S.double()), expected, rtol=1e-5, atol=2e-5)
    gradients = torch.autograd.grad(y.sum() + S.sum(), given)
    assert all(value.isfinite().all() for value in gradients)


def test_a_gate_of_exactly_zero_in_log_space_is_linear_attention_to_the_bit() -> None:
    given = inputs(100)
    none = run(*given)
    for shape in [(2,), (2, 100, 2)]:
        assert all(map(torch.equal, run(*given, torch.zeros(shape).double()), none))
    torch.testing.assert_close(run(*given, torch.zeros(2, 100, 2, 4).double()), none, **TOLERANCE)
    q, k, v = given
    scores = torch.einsum("blhd,bmhd->bhlm", q, k).tril()
    torch.testing.assert_close(none[0], torch.einsum("bhlm,bmhd->blhd", scores, v), **TOLERANCE)


def test_identical_keys_add_up_exactly() -> None:
    q, v = torch.ones(1, 150, 1, 2), torch.ones(1, 150, 1, 1)
    y = gated_linear(q, q / 2, v)
    assert torch.equal(y.flatten(), torch.arange(1.0, 151.0))


def test_a_constant_decay_and_a_bonus_are_the_recurrence_of_rwkv5() -> None:
    r, k, v = inputs(70)
    rates, bonus = -draw(2, 4, seed=3).exp(), draw(2, 4, seed=4)
    expected = naive_wkv.wkv(r, k, v, rates, bonus)
    torch.testing.assert_close(run(r, k, v, rates.expand_as(k), bonus), expected, **TOLERANCE)


def test_heads_of_a_group_share_its_queries_and_keys() -> None:
    q, k, _ = inputs(70)
    v, decay = draw(2, 70, 6, 3, seed=2), -draw(2, 70, 6, seed=3).exp()
    repeated = (x.repeat_interleave(3, 2) for x in (q, k))
    torch.testing.assert_close(run(q, k, v, decay), run(*repeated, v, decay), **TOLERANCE)
    with pytest.raises(ValueError, match=r"number of heads must be a multiple of that of groups"):
        gated_linear(q, k, v[:, :, :5])


def test_autocast_does_not_lower_the_precision_and_bfloat16_is_summed_in_float32() -> None:
    given = [*inputs(70, torch.float32), -draw(2, 70, 2, 4, seed=3, dtype=torch.float32).exp()]
    expected = gated_linear(*given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gated_linear(*given), expected)
    y, S = run(*(x.bfloat16() for x in given[:3]), given[3])
    assert y.dtype == S.dtype == torch.float32
    torch.testing.assert_close(y, expected, rtol=0.05, atol=0.1)
