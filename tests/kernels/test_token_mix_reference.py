import torch

from recall_bench.kernels.token_mix import token_mix


def test_each_token_is_mixed_with_the_one_before_it_in_every_ratio() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 3, generator=draw, dtype=torch.float64)
    mix = torch.rand(4, 3, generator=draw, dtype=torch.float64)
    mixed = token_mix(x, mix)
    for ratio, got in zip(mix, mixed, strict=True):
        torch.testing.assert_close(got[:, 0], ratio * x[:, 0])
        for t in range(1, 5):
            torch.testing.assert_close(got[:, t], ratio * x[:, t] + (1 - ratio) * x[:, t - 1])


def test_the_outputs_keep_the_dtype_of_the_tokens() -> None:
    mixed = token_mix(torch.ones(1, 2, 3, dtype=torch.bfloat16), torch.rand(4, 3))
    assert [y.dtype for y in mixed] == [torch.bfloat16] * 4
