import torch

from recall_bench.kernels.token_mix import token_mix


def test_the_outputs_keep_the_dtype_of_the_tokens() -> None:
    mixed = token_mix(torch.ones(1, 2, 3, dtype=torch.bfloat16), torch.rand(4, 3))
    assert [y.dtype for y in mixed] == [torch.bfloat16] * 4
