import pytest
import torch
from comparing import random

from recall_bench.kernels.attention import attention, naive, reserve


def inputs(length, heads=2, groups=2, dtype=torch.float64):
    shapes = [(2, length, n, 4) for n in (heads, groups, groups)]
    return [random(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]


def after(count, tensors):
    """The state after ``count`` tokens, and the tensors of those that follow."""
    earlier, later = [x[:, :count] for x in tensors], [x[:, count:] for x in tensors]
    return naive.attention(*earlier)[1], later


@pytest.mark.parametrize("parts", [(7,), (1,) * 7, (0, 3, 1, 3)])
def test_reserved_room_is_filled_without_copying_earlier_tokens(parts):
    state, tensors = after(4, inputs(11))
    expected, end = attention(*tensors, initial_state=state, return_state=True)
    cache = reserve(state, 7)
    address = cache["keys"].data_ptr()
    outputs, start = [], 0
    for length in parts:
        part = [x[:, start : start + length] for x in tensors]
        y, same = attention(*part, initial_state=cache, state_out=cache)
        assert same is cache
        outputs.append(y)
        start += length
    assert cache["keys"].data_ptr() == address
    torch.testing.assert_close(torch.cat(outputs, 1), expected)
    assert all(torch.equal(cache[name], end[name]) for name in end)


def test_a_cache_counts_only_the_tokens_that_it_holds():
    state, tensors = after(4, inputs(6))
    cache = reserve(state, 100)
    assert {name: x.shape for name, x in cache.items()} == {
        "keys": (2, 4, 2, 4),
        "values": (2, 4, 2, 4),
    }
    attention(*tensors, initial_state=cache, state_out=cache)
    assert cache["values"].shape == (2, 6, 2, 4)


def test_a_cache_that_is_no_output_stays_unchanged():
    state, tensors = after(4, inputs(6))
    cache = reserve(state, 10)
    _, new = attention(*tensors, initial_state=cache, return_state=True)
    assert new["keys"].shape[1] == 6
    assert torch.equal(cache["keys"], state["keys"])


@pytest.mark.parametrize("given", [False, True])
def test_a_cache_takes_a_state_that_was_computed_elsewhere(given):
    state, tensors = after(4, inputs(6))
    cache = reserve(attention.empty_state(*tensors), 10)
    _, same = attention(*tensors, initial_state=state if given else None, state_out=cache)
    _, expected = attention(*tensors, initial_state=state if given else None, return_state=True)
    assert same is cache
    assert all(torch.equal(cache[name], expected[name]) for name in expected)


def test_room_that_is_used_up_is_refused_and_the_cache_kept():
    state, tensors = after(4, inputs(6))
    cache = reserve(state, 1)
    with pytest.raises(ValueError, match=r"room for 5 tokens, of which 4 are used\. Got 2 more"):
        attention(*tensors, initial_state=cache, state_out=cache)
    assert torch.equal(cache["keys"], state["keys"])
    with pytest.raises(ValueError, match=r"room for 5 tokens, of which 0 are used\. Got 6 more"):
        attention(*inputs(6), state_out=cache)
    with pytest.raises(ValueError, match=r"takes keys of shape \(2, tokens, 2, 4\)"):
        cache.append({"keys": torch.zeros(2, 1, 3, 4), "values": torch.zeros(2, 1, 3, 4)})
    with pytest.raises(ValueError, match=r"n must be at least 0\. Got -1"):
        reserve(state, -1)


def test_key_value_heads_that_do_not_divide_the_heads_are_refused():
    q, k, v = inputs(3, groups=3)
    with pytest.raises(ValueError, match=r"heads must be a multiple .* Got 2 and 3"):
        attention(q, k, v)
