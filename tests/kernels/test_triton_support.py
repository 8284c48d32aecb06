import pytest
import torch
from comparing import assert_close, on_gpu, random

pytest.importorskip("triton")

from recall_bench.kernels.plumbing.triton_support import dot_constants
from recall_bench.kernels.sliding_window_attention import reference, triton


@pytest.mark.parametrize(
    ("asked", "precision"), [("highest", "tf32x3"), ("high", "tf32"), ("medium", "tf32")]
)
def test_float32_takes_a_single_tf32_product_only_where_asked(matmul_precision, asked, precision):
    matmul_precision(asked)
    assert dot_constants(torch.float32)["PRECISION"] == precision


def test_float16_never_takes_more_than_one_product(matmul_precision):
    matmul_precision("highest")
    assert dot_constants(torch.float16)["PRECISION"] == "tf32"


@on_gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_kernels_run_on_the_device_of_their_inputs():
    tensors = [random(2, 100, 2, 16, seed=i).to("cuda:1").requires_grad_() for i in range(3)]
    y = triton.sliding_window_attention(*tensors, 10)
    expected = reference.sliding_window_attention(*(x.double() for x in tensors), 10)
    gradients = (torch.autograd.grad(x.square().sum(), tensors) for x in (y, expected))
    assert_close("y", y, expected, 1e-5)
    for got, want in zip(*gradients, strict=True):
        assert_close("gradient", got, want, 1e-5)
