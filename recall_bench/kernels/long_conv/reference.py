"""Long convolution by the FFT, on any device; also the training path on CPU."""

import torch
from torch import Tensor


def long_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """See `recall_bench.kernels.long_conv.long_conv`."""
    length = x.shape[-1]
    x, kernel = x.to(kernel.dtype), kernel[:, :length]
    taps = kernel.shape[-1]
    size = max(1, length + taps)
    kernel = kernel.view(len(kernel), *[1] * (x.dim() - 3), taps)
    product = torch.fft.rfft(x, size) * torch.fft.rfft(kernel, size)
    return torch.fft.irfft(product, size)[..., :length]
