"""The device, precision and tolerance of a contract check; imports no torch."""

from dataclasses import dataclass
from typing import Literal

CheckPrecision = Literal["fp64", "fp32", "bf16"]
DTYPES: dict[CheckPrecision, str] = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16"}
"""The names of the precisions in reports and records."""


@dataclass(frozen=True)
class CheckOn:
    """The device and precision of a check, and the tolerance that applies there.

    ``bf16`` keeps weights and inputs in float32 under autocast, as a run with that precision does.
    ``tolerance`` is relative to the largest magnitude; None selects the default, which for float32
    on a GPU allows for TF32 in products.
    """

    device: str = "cpu"
    precision: CheckPrecision = "fp64"
    tolerance: float | None = None

    @property
    def allowed(self) -> float:
        """The tolerance that applies."""
        if self.tolerance is not None:
            return self.tolerance
        if self.precision == "fp32":
            return 1e-4 if self.device == "cpu" else 5e-3
        return 1e-9 if self.precision == "fp64" else 5e-2

    def __str__(self) -> str:
        return f"{DTYPES[self.precision]} {self.device.partition(':')[0]}"
