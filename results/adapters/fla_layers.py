"""Four layers of flash-linear-attention 0.6.0 at the quick preset's width; they need a GPU."""

import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench import register_architecture
from recall_bench.architectures import Architecture, CheckOn, Mixer
from recall_bench.architectures.adapters import fla_layer, installed


class FlaArchitecture(Architecture):
    """A stack of one of fla's layers, each of which is built as if it were the first."""

    bf16: ClassVar[bool] = False
    """Whether the layer runs in bfloat16 whatever the precision of the run."""

    check_on = CheckOn("cuda", "fp32")

    d_model: int = 32

    def mixer(self) -> Mixer:
        with warnings.catch_warnings():  # RWKV7Attention and layers without convolutions warn
            warnings.simplefilter("ignore")
            layer = self.layer(installed("fla.layers", package="flash-linear-attention"))
        return fla_layer(layer, bf16=self.bf16)

    def layer(self, layers: Any) -> nn.Module:
        """One of ``fla.layers``."""
        raise NotImplementedError


@register_architecture("fla-gla")
class GLA(FlaArchitecture):
    """Short convolution + gated linear attention (arXiv 2312.06635)."""

    grids = {"quick": [{"expand_k": [0.5, 1.0]}]}
    num_heads: int = 1
    expand_k: float = 0.5

    def layer(self, layers: Any) -> nn.Module:
        gla: nn.Module = layers.GatedLinearAttention(
            hidden_size=self.d_model,
            num_heads=self.num_heads,
            expand_k=self.expand_k,
            layer_idx=0,
        )
        return gla


@register_architecture("fla-deltanet")
class DeltaNet(FlaArchitecture):
    """Two layers of DeltaNet (arXiv 2406.06484), with short convolutions of their own."""

    bf16 = True  # its chunked kernel refuses float32
    check_on = CheckOn("cuda", "fp32", tolerance=5e-2)
    grids = {"quick": [{"num_heads": [1, 2]}]}
    layers: str = "self+self"
    num_heads: int = 1

    def layer(self, layers: Any) -> nn.Module:
        deltanet: nn.Module = layers.DeltaNet(
            hidden_size=self.d_model, num_heads=self.num_heads, layer_idx=0
        )
        return deltanet


@register_architecture("fla-gated-deltanet")
class GatedDeltaNet(FlaArchitecture):
    """Two layers of Gated DeltaNet (arXiv 2412.06464), with short convolutions of their own."""

    bf16 = True  # as it was published
    check_on = CheckOn("cuda", "fp32", tolerance=5e-2)
    grids = {"quick": [{"num_heads": [1, 2]}]}
    layers: str = "self+self"
    num_heads: int = 1
    head_dim: int = 16
    expand_v: float = 2.0

    def layer(self, layers: Any) -> nn.Module:
        with_gradients_in_pytorch(layers.gated_deltanet)
        deltanet: nn.Module = layers.GatedDeltaNet(
            hidden_size=self.d_model,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            expand_v=self.expand_v,
            layer_idx=0,
        )
        return deltanet


def with_gradients_in_pytorch(module: Any) -> None:
    """Have GatedDeltaNet run fla's own chunked form in PyTorch wherever gradients are needed.

    On Hopper GPUs fla refuses the backward pass of its kernel with Triton 3.4.0 to 3.7.0, which
    compile it wrongly. Without gradients the kernel runs as always.
    """
    kernel = module.chunk_gated_delta_rule
    if hasattr(kernel, "in_pytorch"):
        return
    naive = installed("fla.ops.gated_delta_rule.naive", package="flash-linear-attention")

    def rule(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        beta: Tensor,
        *,
        A_log: Tensor,
        dt_bias: Tensor,
        initial_state: Tensor | None = None,
        output_final_state: bool = False,
        **flags: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if not torch.is_grad_enabled():
            return kernel(
                q=q,
                k=k,
                v=v,
                g=g,
                beta=beta,
                A_log=A_log,
                dt_bias=dt_bias,
                initial_state=initial_state,
                output_final_state=output_final_state,
                **flags,
            )
        q, k = (x.float() * (x.float().square().sum(-1, True) + 1e-6).rsqrt() for x in (q, k))
        log_decay = -A_log.float().exp() * F.softplus(g.float() + dt_bias.float())
        y, state = naive.naive_chunk_gated_delta_rule(
            q,
            k,
            v,
            log_decay,
            beta.float().sigmoid(),
            chunk_size=16,
            initial_state=None if initial_state is None else initial_state.mT,  # fla keeps (V, K)
            output_final_state=output_final_state,
        )
        return y.to(v.dtype), None if state is None else state.mT

    rule.in_pytorch = True  # type: ignore[attr-defined]
    module.chunk_gated_delta_rule = rule


@register_architecture("fla-rwkv7")
class RWKV7(FlaArchitecture):
    """Two layers of RWKV-7's time mixing (arXiv 2503.14456), each initialised as the first."""

    grids = {"quick": [{"head_dim": [16, 32]}]}
    layers: str = "self+self"
    head_dim: int = 32

    def layer(self, layers: Any) -> nn.Module:
        rwkv: nn.Module = layers.RWKV7Attention(
            hidden_size=self.d_model, head_dim=self.head_dim, layer_idx=0, num_hidden_layers=2
        )
        return rwkv
