"""Based: linear attention over the whole past, exact attention over a small window."""

from typing import Self

from pydantic import Field, model_validator

from recall_bench.architectures.facts import Recipe, Source
from recall_bench.architectures.layer_grammar import Layer
from recall_bench.architectures.linear_attention.taylor_attention import TaylorAttention
from recall_bench.architectures.softmax.attention import check_heads
from recall_bench.registry import register_architecture


@register_architecture("based")
class Based(TaylorAttention):
    """Short convolution, Taylor linear attention, sliding window.

    window=0 leaves the window layer out, which gives the two-layer Based of the paper's Figure 2.
    """

    source = Source(
        "Simple linear attention language models balance the recall-throughput tradeoff",
        "2402.18668",
    )
    marker = "o"
    grids = {
        "quick": [{"d_model": [32], "feature_dim": [4, 8, 16], "window": [0, 16, 64]}],
        "figure2": [{"d_model": [48, 64, 128], "feature_dim": [8, 16, 24], "window": [0]}],
    }
    suites = {
        "recall": {"feature_dim": 16, "window": 0},
        "mad": {"feature_dim": 16, "window": 0},
        "quick": {"feature_dim": 8, "window": 16},
    }
    bench = {"figure2": {"d_model": 64, "feature_dim": 16, "window": 0}}
    published_recipe = Recipe("Figure 2 of Based, HazyResearch/zoology", {"block_style": "zoology"})

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
        if not self.parsed_layers():
            raise ValueError(
                f"window must be at least 1 if the sliding window is the only layer. "
                f"Got window={self.window}, layers={self.layers!r}"
            )
        return self

    def parsed_layers(self) -> list[Layer]:
        """The entries of ``layers``, except sliding windows of zero tokens."""
        return [layer for layer in super().parsed_layers() if self._window_of(layer) != 0]

    def _window_of(self, layer: Layer) -> int | None:
        """The window of a sliding window; None for other layers."""
        if layer.name != "sliding-window":
            return None
        return int(dict(layer.knobs).get("window", self.window))
