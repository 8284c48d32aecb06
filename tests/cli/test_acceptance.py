"""What the numbers rest on: decoding equals training, and no window recalls beyond its reach."""

import math

import pytest
import torch

from recall_bench import registry
from recall_bench.bounds import window_ceiling
from recall_bench.config import ModelConfig, RunConfig, build
from recall_bench.model.backbone import Model, isolated_rng
from recall_bench.training.loop import train

LENGTH, TOKENS = 32, 50
KNOBS = [
    ("based", {"window": 8}),
    ("based", {"window": 0, "feature_dim": 4, "num_heads": 2, "kernel_size": 5}),
    ("based", {"window": 3, "rotary": True, "layers": "sliding-window+self+short-conv"}),
    ("taylor-attention", {}),
    ("taylor-attention", {"feature_dim": 5, "num_heads": 4}),
    ("sliding-window", {"window": 8}),
    ("sliding-window", {"window": 1, "num_heads": 2, "rotary": True}),
    ("attention", {}),
    ("attention", {"num_heads": 4, "rotary": True}),
    ("short-conv", {}),
    ("short-conv", {"kernel_size": 1, "form": "language-model"}),
    ("mamba", {}),
    ("mamba", {"d_state": 3, "d_conv": 2, "expand": 1, "layers": "short-conv+self"}),
    ("h3", {}),
    ("h3", {"d_state": 4, "head_dim": 4}),
    ("rwkv5", {"head_dim": 16}),
    ("rwkv5", {"head_dim": 8, "layers": "self+self"}),
    ("gla", {}),
    ("gla", {"num_heads": 2, "expand_v": 2, "gate_rank": 3, "layers": "self"}),
    ("retnet", {}),
    ("retnet", {"num_heads": 2, "expand_v": 1, "layers": "self+self"}),
    ("mamba2", {"head_dim": 32}),
    ("mamba2", {"head_dim": 8, "d_state": 3, "d_conv": 2, "layers": "short-conv+self"}),
    ("hgrn2", {"head_dim": 16}),
    ("hgrn2", {"head_dim": 8, "lower_bound": 0.25}),
    ("linear-attention", {}),
    ("linear-attention", {"feature_map": "cosformer", "num_heads": 2}),
    ("linear-attention", {"feature_map": "polynomial", "feature_dim": 4}),
    ("linear-attention", {"feature_map": "hedgehog", "feature_dim": 8}),
    ("linear-attention", {"feature_map": "performer", "normaliser": "rms"}),
    ("rwkv6", {"head_dim": 16}),
    ("rwkv6", {"head_dim": 8, "mix_rank": 3, "decay_rank": 5, "layers": "self+self"}),
    ("rebased", {}),
    ("rebased", {"feature_dim": 4, "num_heads": 2, "layers": "self"}),
    ("rwkv4", {}),
    ("rwkv4", {"layers": "self"}),
    ("metala", {}),
    ("metala", {"num_heads": 2, "d_conv": 2, "layers": "self+self"}),
    ("deltanet", {}),
    ("deltanet", {"num_heads": 4, "kernel_size": 2, "negative_eigenvalues": True}),
    ("gated-deltanet", {}),
    ("gated-deltanet", {"num_heads": 4, "expand_v": 1, "gate": False, "layers": "self"}),
    ("rwkv7", {"head_dim": 16}),
    ("rwkv7", {"head_dim": 8, "decay_rank": 3, "rate_rank": 2, "gate_rank": 5}),
    ("kda", {}),
    ("kda", {"num_heads": 4, "expand_v": 2, "layers": "self"}),
    ("deltaproduct", {}),
    ("deltaproduct", {"writes": 3, "decay": False, "layers": "short-conv+self"}),
    ("mom", {}),
    ("mom", {"num_memories": 3, "top_k": 1, "shared_memory": False, "layers": "self"}),
]


def test_the_step_of_every_architecture_is_compared_with_defaults_and_without() -> None:
    names = [name for name, _ in KNOBS]
    assert set(names) == set(registry.architectures.builtin())
    assert all(names.count(name) >= 2 for name in names)


@torch.no_grad()
@pytest.mark.parametrize("mlp_ratio", [0.0, 2.0])
@pytest.mark.parametrize(("name", "knobs"), KNOBS, ids=str)
def test_decoding_step_by_step_reproduces_forward_to_1e_9(
    name: str, knobs: dict, mlp_ratio: float
) -> None:
    architecture = build(registry.architectures, {"name": name, "d_model": 16, **knobs})
    config = ModelConfig(mlp_ratio=mlp_ratio, norm="rmsnorm" if mlp_ratio else "layernorm")
    with isolated_rng(0):
        model = Model(architecture, config, TOKENS).double().eval()
        inputs = torch.randint(TOKENS, (2, LENGTH))
    hidden = model(inputs)
    assert hidden.std() > 0.1
    close = {"rtol": 0, "atol": 1e-9}
    for prompt in (0, 17):
        prefilled, state = (
            model.prefill(inputs[:, :prompt])
            if prompt
            else (hidden[:, :0], model.initial_state(len(inputs)))
        )
        outputs = list(prefilled.unbind(1))
        for token in inputs[:, prompt:].unbind(1):
            y, state = model.step(token, state)
            outputs.append(y)
        torch.testing.assert_close(torch.stack(outputs, 1), hidden, **close)


FIGURE_2 = [(64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256)]
VOCABULARY, EXAMPLES = 514, 64
"""The smallest vocabulary that has 256 distinct keys, and the test examples a segment."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "d_model", "task", "training"),
    [
        (64, 32, {"filler": "distinct"}, {"batch_size": 32, "learning_rate": 1e-2}),
        (32, 16, {"filler": "zero"}, {"batch_size": 16, "learning_rate": 2e-2}),
    ],
)
def test_a_trained_sliding_window_stays_below_its_ceiling_on_the_segments_of_figure_2(
    window: int, d_model: int, task: dict, training: dict
) -> None:
    config = RunConfig(
        task={
            "name": "mqar",
            "vocab_size": VOCABULARY,
            "train": "64:4:3072,64:8:3072,64:16:3072",
            "validation": "64:4:64,64:16:64",
            "test": ",".join(f"{length}:{pairs}:{EXAMPLES}" for length, pairs in FIGURE_2),
            **task,
        },
        architecture={"name": "sliding-window", "d_model": d_model, "window": window},
        model={"embedding_dropout": 0.0},
        training={"epochs": 3, "order": "interleaved", "early_stop": 0.98, **training},
    )
    record = train(config, device="cpu")
    scores = {
        (score.length, score.options["pairs"]): score.accuracy
        for score in record.segments
        if score.split == "test"
    }
    assert list(scores) == FIGURE_2
    for (length, pairs), accuracy in scores.items():
        # The convolution in front, with a kernel of three, brings two more positions into reach.
        reach = window_ceiling(window, [(length, pairs)], shift=2)
        unseen = VOCABULARY // 2 - (window + 2) // 2  # values that a guess has to choose from
        ceiling = reach + (1 - reach) / unseen
        error = math.sqrt(ceiling * (1 - ceiling) / (pairs * EXAMPLES))
        assert accuracy <= ceiling + 4 * error
        if length == 64:
            assert accuracy >= 0.8 * reach, "it has learnt to recall what it can reach"
