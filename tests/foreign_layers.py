"""Small torch layers that follow the protocols of fla's and of mamba_ssm's layers to the letter.

Like theirs, they change the tensors of a cache in place when they decode.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FlaLinearAttention(nn.Module):
    """Fading linear attention over short convolutions, called as fla's DeltaNet is."""

    kernel = 4

    def __init__(
        self, hidden_size: int, num_heads: int = 2, layer_idx: int | None = None, short: bool = True
    ) -> None:
        super().__init__()
        self.hidden_size, self.heads, self.layer_idx = hidden_size, num_heads, layer_idx
        self.short = short
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.a_proj = nn.Linear(hidden_size, num_heads)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        if short:
            self.conv = nn.Parameter(torch.randn(3, hidden_size, self.kernel) / 2)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
    ) -> tuple[Tensor, None, Any]:
        last = None
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            last = past_key_values[self.layer_idx]
        projected = [proj(hidden_states) for proj in (self.q_proj, self.k_proj, self.v_proj)]
        convolved: Any = None
        if self.short:
            before = last["conv_state"] if last is not None else (None, None, None)
            pairs = [
                self.convolve(x, weight, cache)
                for x, weight, cache in zip(projected, self.conv, before, strict=True)
            ]
            projected, convolved = [list(part) for part in zip(*pairs, strict=True)]
        batch, length, _ = hidden_states.shape
        q, k, v = (x.view(batch, length, self.heads, -1) for x in projected)
        decay = torch.sigmoid(self.a_proj(hidden_states))[..., None, None]
        state = last["recurrent_state"] if last is not None else None
        if state is None:
            wide = torch.promote_types(v.dtype, torch.float32)  # fla's kernels keep float32
            state = torch.zeros(batch, self.heads, q.shape[-1], v.shape[-1]).to(v.device, wide)
        outputs = []
        for t in range(length):
            written = k[:, t, :, :, None] * v[:, t, :, None, :]
            if torch.is_grad_enabled() or length > 1:
                state = state * decay[:, t] + written
            else:
                state.mul_(decay[:, t]).add_(written)
            outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state.to(q.dtype)))
        y = self.o_proj(torch.stack(outputs, 1).flatten(2))
        if past_key_values is not None:
            past_key_values.update(
                layer_idx=self.layer_idx,
                recurrent_state=state,
                conv_state=tuple(convolved) if self.short else None,
                offset=length,
            )
        return y, None, past_key_values

    def convolve(
        self, x: Tensor, weight: Tensor, cache: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """As fla's ShortConvolution: a cache (batch, width, kernel), written to by one token."""
        if cache is None:
            cache = x.new_zeros(x.shape[0], x.shape[2], self.kernel)
        if x.shape[1] == 1 and not torch.is_grad_enabled():
            cache.copy_(torch.cat([cache[..., 1:], x.transpose(1, 2)], 2))
            return F.silu((cache * weight).sum(-1))[:, None], cache
        padded = torch.cat([cache[..., 1:], x.transpose(1, 2)], 2)
        y = F.conv1d(padded, weight[:, None], groups=x.shape[2])
        return F.silu(y).transpose(1, 2), torch.cat([cache, x.transpose(1, 2)], 2)[
            ..., -self.kernel :
        ]


class FlaAttention(nn.Module):
    """Softmax attention with learned positions, called as fla's Attention is."""

    def __init__(self, hidden_size: int, layer_idx: int | None = None) -> None:
        super().__init__()
        self.hidden_size, self.layer_idx = hidden_size, layer_idx
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.frequency = nn.Parameter(torch.rand(hidden_size))

    def forward(
        self, hidden_states: Tensor, past_key_values: Any = None, use_cache: bool = False
    ) -> tuple[Tensor, None, Any]:
        length, offset = hidden_states.shape[1], 0
        if past_key_values is not None:
            offset = past_key_values.get_seq_length(self.layer_idx)
        positions = torch.arange(offset, offset + length).to(hidden_states)
        turned = hidden_states + torch.cos(positions[:, None] * self.frequency)
        q, k, v = self.qkv(turned).chunk(3, -1)
        if past_key_values is not None:
            k, v = past_key_values.update(
                attn_state=(k, v),
                layer_idx=self.layer_idx,
                offset=length,
                cache_kwargs={"window_size": None},
            )["attn_state"]
        mask = torch.ones(length, k.shape[1], dtype=torch.bool).tril(k.shape[1] - length)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask), None, past_key_values


class SsmLayer(nn.Module):
    """A diagonal state space model after a convolution, called as mamba_ssm's Mamba is."""

    def __init__(
        self, d_model: int, d_state: int = 4, d_conv: int = 4, layer_idx: int | None = None
    ) -> None:
        super().__init__()
        self.d_model, self.d_state, self.d_conv = d_model, d_state, d_conv
        self.layer_idx = layer_idx
        self.in_proj = nn.Linear(d_model, 2 * d_model, bias=False)
        self.conv1d = nn.Conv1d(d_model, d_model, d_conv, groups=d_model, padding=d_conv - 1)
        self.x_proj = nn.Linear(d_model, 1 + 2 * d_state, bias=False)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, d_state + 1).float()))
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, hidden_states: Tensor, inference_params: Any = None) -> Tensor:
        conv_state = ssm_state = None
        if inference_params is not None:
            conv_state, ssm_state = inference_params.key_value_memory_dict[self.layer_idx]
            if inference_params.seqlen_offset > 0:
                return self.step(hidden_states, conv_state, ssm_state)[0]
        x, z = self.in_proj(hidden_states).transpose(1, 2).chunk(2, 1)
        length = x.shape[2]
        if conv_state is not None:
            conv_state.copy_(F.pad(x, (self.d_conv - length, 0)))
        x = F.silu(self.conv1d(x)[..., :length])
        state = torch.zeros(x.shape[0], self.d_model, self.d_state).to(x)
        outputs = []
        for t in range(length):
            y, state = self.scan(x[..., t], z[..., t], state)
            outputs.append(y)
        if ssm_state is not None:
            ssm_state.copy_(state)
        return self.out_proj(torch.stack(outputs, 1))

    def step(
        self, hidden_states: Tensor, conv_state: Tensor, ssm_state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert hidden_states.shape[1] == 1, "Only support decoding with 1 token at a time for now"
        x, z = self.in_proj(hidden_states.squeeze(1)).chunk(2, -1)
        conv_state.copy_(torch.roll(conv_state, shifts=-1, dims=-1))
        conv_state[:, :, -1] = x
        x = torch.sum(conv_state * self.conv1d.weight[:, 0], dim=-1) + self.conv1d.bias
        y, state = self.scan(F.silu(x), z, ssm_state)
        ssm_state.copy_(state)
        return self.out_proj(y).unsqueeze(1), conv_state, ssm_state

    def scan(self, x: Tensor, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        dt, B, C = self.x_proj(x).split([1, self.d_state, self.d_state], -1)
        dt = F.softplus(dt)[..., None]
        state = state * torch.exp(-dt * self.A_log.exp()) + dt * x[..., None] * B[:, None]
        return (state * C[:, None]).sum(-1) * F.silu(z), state

    def allocate_inference_cache(
        self, batch_size: int, max_seqlen: int, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        weight = self.out_proj.weight
        dtype = dtype or weight.dtype
        conv_state = torch.zeros(batch_size, self.d_model, self.d_conv).to(weight.device, dtype)
        ssm_state = torch.zeros(batch_size, self.d_model, self.d_state).to(weight.device, dtype)
        return conv_state, ssm_state
