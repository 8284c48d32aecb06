import subprocess
import sys

import pytest
import torch

from recall_bench.errors import UserError
from recall_bench.training.device import device_lost_reported, precision_of


def products(precision: str, device: str) -> tuple[str, torch.dtype]:
    """How float32 matrices are multiplied under a precision, and what autocast makes of them."""
    with precision_of(precision, torch.device(device)):
        x = torch.ones(2, 2, device=device)
        return torch.get_float32_matmul_precision(), (x @ x).dtype


def test_on_a_cpu_float32_stays_exact_and_bf16_is_autocast() -> None:
    before = torch.get_float32_matmul_precision()
    assert products("fp32", "cpu") == ("highest", torch.float32)
    assert products("bf16", "cpu") == ("highest", torch.bfloat16)
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(UserError, match="precision=tf32 needs a CUDA device"):
        products("tf32", "cpu")


def test_an_error_that_the_device_survives_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="no fault"), device_lost_reported(torch.device("cpu")):
        raise ValueError("no fault of the device")


@pytest.mark.gpu
def test_an_access_that_breaks_the_gpu_for_the_process_is_told() -> None:
    code = (
        "import torch\n"
        "from recall_bench.training.device import device_lost_reported\n"
        "device = torch.device('cuda')\n"
        "with device_lost_reported(device):\n"
        "    torch.ones(2, device=device)[torch.tensor([10**6], device=device)].item()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DeviceLost: " in run.stderr


@pytest.mark.gpu
def test_on_a_gpu_all_but_fp32_takes_tf32_for_float32() -> None:
    assert products("fp32", "cuda") == ("highest", torch.float32)
    assert products("tf32", "cuda") == ("high", torch.float32)
    assert products("bf16", "cuda") == ("high", torch.bfloat16)
