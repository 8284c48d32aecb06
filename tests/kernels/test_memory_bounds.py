"""The check that kernels stay within their tensors finds a read and a write beyond them."""

import pytest
import torch
import triton
import triton.language as tl
from comparing import DEVICE
from memory_bounds import checked_memory
from triton.runtime.errors import InterpreterError

pytestmark = pytest.mark.skipif(DEVICE != "cpu", reason="checks Triton's interpreter")


@triton.jit
def _copy_kernel(x, y, read, written, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    values = tl.load(x + at, mask=at < read, other=0.0)
    tl.store(y + at, values, mask=at < written)


@pytest.mark.parametrize(
    ("read", "written", "message"),
    [(6, 5, "reads 20 bytes into a tensor of 20"), (5, 7, "writes 20 bytes into a tensor of 20")],
)
def test_an_access_beyond_a_tensor_is_found(read, written, message):
    x, y = torch.ones(5), torch.zeros(5)
    with checked_memory(), pytest.raises(InterpreterError, match=message):
        _copy_kernel[(1,)](x, y, read, written, SIZE=8)
    assert not y.any()


def test_masked_elements_are_not_accesses():
    x, y = torch.ones(5), torch.zeros(5)
    with checked_memory():
        _copy_kernel[(1,)](x, y, 5, 5, SIZE=8)
    assert y.all()
