"""Based: linear attention for the whole past, a small exact window for the near one."""

from typing import Self

from pydantic import Field, model_validator

from recall_bench.architectures.linear_attention.taylor_attention import TaylorAttention
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture


@register_architecture("based")
class Based(TaylorAttention):
    """Short convolution + Taylor linear attention + sliding window (arXiv 2402.18668).

    With window=0 the window layer is left out: the two-layer Based of the paper's Figure 2.
    """

    layers: str = Field(
        "short-conv+taylor-attention+sliding-window",
        description="mixers from the bottom up, joined by '+'; 'self' is the Taylor attention",
    )
    window: int = Field(
        64, ge=0, le=2**20, description="tokens the window layer sees; 0 leaves that layer out"
    )
    rotary: bool = Field(False, description="rotary position embedding in the window layer")
    kernel_size: int = Field(
        3, ge=1, le=1024, description="inputs under the short convolution's kernel"
    )

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        check_heads(self.d_model, self.num_heads, self.rotary)
        if not self.layer_names():
            raise ValueError(
                f"window must be at least 1 where the sliding window is the only layer. "
                f"Got window={self.window}, layers={self.layers!r}"
            )
        return self

    def layer_names(self) -> list[str]:
        """The entries of ``layers``, less the sliding window where ``window`` is 0."""
        names = super().layer_names()
        return [name for name in names if self.window or name != "sliding-window"]
