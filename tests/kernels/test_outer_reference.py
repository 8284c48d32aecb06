import pytest
import torch

from recall_bench.kernels.outer import contract, outer


@pytest.mark.parametrize("p", [1, 3])
def test_products_and_sums_are_those_of_the_equations(p):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 5, 4, p, generator=generator, dtype=torch.float64) for _ in range(3))
    kv = outer(k, v)
    torch.testing.assert_close(kv, torch.einsum("blhi,blhj->bhijl", k, v))
    torch.testing.assert_close(contract(q, kv), torch.einsum("blhi,bhijl->blhj", q, kv))


def test_dtypes_are_those_of_the_product_and_of_the_query():
    narrow, wide = torch.ones(1, 3, 2, 2, dtype=torch.bfloat16), torch.ones(1, 3, 2, 2)
    kv = outer(wide, narrow)
    assert kv.dtype == torch.float32
    assert contract(narrow, kv).dtype == torch.bfloat16
    assert contract(wide, outer(narrow, narrow)).dtype == torch.float32
