"""Recipes: what "published" and "authors" change, checked against the code that they come from."""

import math

import pytest
import torch
from torch.nn import functional as F

from recall_bench.architectures.softmax.dropped_attention_layer import dropped_attention
from recall_bench.architectures.softmax.sliding_window_layer import SlidingWindowMixer
from recall_bench.config import ModelConfig, RunConfig
from recall_bench.errors import UserError
from recall_bench.kernels.attention import attention
from recall_bench.model.backbone import Model, build_model

TASK = {
    "name": "mqar",
    "vocab_size": 64,
    **dict.fromkeys(("train", "validation", "test"), "32:4:8"),
}


def model_of(architecture: str, recipe: str = "default", **options: object) -> Model:
    knobs = {key: options.pop(key) for key in ("layers", "window") if key in options}
    return build_model(
        RunConfig(
            task=TASK,
            architecture={"name": architecture, "d_model": 64, **knobs},
            model={"recipe": recipe, **options},
        )
    )


def same_weights(some: Model, others: Model) -> set[str]:
    """The names of the parameters that both models have with equal values."""
    theirs = dict(others.named_parameters())
    return {
        name
        for name, value in some.named_parameters()
        if name in theirs and torch.equal(value, theirs[name])
    }


def test_a_zoology_block_adds_its_second_norm_to_the_stream() -> None:
    model = model_of("attention", block_style="zoology").double().eval()
    tokens = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(0))
    stream, hidden = 0.0, model.embedding(tokens)
    for layer in model.layers:
        stream = stream + hidden
        stream = stream + layer.mixer(F.layer_norm(stream, (64,)))
        hidden = F.layer_norm(stream, (64,))
    expected = F.layer_norm(stream + hidden, (64,))
    torch.testing.assert_close(model(tokens), expected, rtol=0, atol=1e-12)
    positions = torch.tensor([[3, 19], [0, 7]])
    rows = expected.gather(1, positions[..., None].expand(-1, -1, 64))
    torch.testing.assert_close(model(tokens, positions), rows, rtol=0, atol=1e-12)


def test_a_zoology_block_decodes_as_it_trains() -> None:
    model = model_of("mamba", block_style="zoology").double().eval()
    tokens = torch.randint(64, (2, 12), generator=torch.Generator().manual_seed(0))
    hidden, state = model.prefill(tokens[:, :5])
    rows = [hidden]
    for token in tokens[:, 5:].unbind(1):
        last, state = model.step(token, state)
        rows.append(last[:, None])
    torch.testing.assert_close(torch.cat(rows, 1), model(tokens), rtol=0, atol=1e-12)


def test_an_mlp_takes_the_place_of_the_identity() -> None:
    plain, zoology = (
        model_of("attention", block_style=style, mlp_ratio=2) for style in ("plain", "zoology")
    )
    assert len(same_weights(plain, zoology)) == len(list(plain.parameters()))


def test_the_defaults_name_no_recipe_and_no_block_style() -> None:
    assert ModelConfig().model_dump() == {
        "mlp_ratio": 0.0,
        "norm": "layernorm",
        "embedding_dropout": 0.1,
    }
    named = ModelConfig(recipe="published", block_style="zoology")
    assert ModelConfig(**named.model_dump()) == named


def test_published_mamba_is_drawn_as_zoology_draws_every_model() -> None:
    model = model_of("mamba", "published")
    assert (model.dropout, type(model.norm).__name__) == (0.0, "RMSNorm")
    mixer = model.layers[1].mixer
    deviations = {
        name: getattr(mixer, name).weight.std().item() for name in ("in_proj", "x_proj", "dt_proj")
    }
    assert all(abs(value - 0.02) < 0.002 for value in deviations.values()), deviations
    assert abs(mixer.out_proj.weight.std().item() - 0.01) < 0.0005
    assert not mixer.dt_proj.bias.any()
    assert not any(hasattr(p, "_no_weight_decay") for p in model.parameters())
    assert not hasattr(model.layers[0], "mlp_norm")


def test_mamba_by_its_authors_divides_out_proj_by_the_square_root_of_the_layers() -> None:
    ours, theirs = (model_of("mamba", name, layers="self*4") for name in ("default", "authors"))
    changed = {name for name, _ in theirs.named_parameters()} - same_weights(theirs, ours)
    assert changed == {f"layers.{layer}.mixer.out_proj.weight" for layer in range(4)}
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        torch.testing.assert_close(other.mixer.out_proj.weight, one.mixer.out_proj.weight / 2)
    assert theirs.layers[0].mixer.A_log._no_weight_decay


def test_rwkv_by_its_authors_starts_each_layer_by_its_index() -> None:
    model = model_of("rwkv5", "authors", layers="self*3")
    for layer, block in enumerate(model.layers):
        mixer, depth, left = block.mixer, layer / 2, 1 - layer / 3
        for i in (0, 1, 40, 63):
            rise = i / 63
            half, full = (i / 64) ** (0.5 * left), (i / 64) ** left
            expected = torch.tensor([half, full, full + 0.3 * depth, half])
            torch.testing.assert_close(mixer.ratios[:, i].detach(), expected)
            decay, bonus = mixer.decay.flatten()[i].item(), mixer.bonus.flatten()[i].item()
            assert decay == pytest.approx(-6 + 5 * rise ** (0.7 + 1.3 * depth), rel=1e-5)
            assert bonus == pytest.approx(depth * (1 - rise) + ((i + 1) % 3 - 1) * 0.1, abs=1e-6)
        assert mixer.norm_weight[0].item() == pytest.approx(((1 + layer) / 3) ** 0.7)
        for maps, gain in ((mixer.r_proj, 1.0), (mixer.k_proj, 0.1), (mixer.out_proj, 0.0)):
            square = maps.weight @ maps.weight.mT
            torch.testing.assert_close(square, gain**2 * torch.eye(64), rtol=0, atol=1e-5)


def test_the_first_rwkv_layer_differs_from_our_default_in_its_maps_and_output_scale_alone() -> None:
    ours, theirs = (model_of("rwkv5", name, layers="self*2") for name in ("default", "authors"))
    same = same_weights(ours, theirs)
    assert {f"layers.0.mixer.{name}" for name in ("ratios", "decay", "bonus")} <= same
    assert "layers.0.mixer.norm_weight" not in same


def test_published_h3_starts_as_ours_and_also_learns_the_b_of_its_shift() -> None:
    ours, theirs = (model_of("h3", name) for name in ("default", "published"))
    assert len(same_weights(ours, theirs)) == len(list(ours.parameters()))
    ours.double(), theirs.double()
    x = torch.randn(2, 30, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second = ours.layers[0].mixer, theirs.layers[0].mixer
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=1e-12)
    second(x).square().sum().backward()
    assert second.shift_B.grad.abs().max() > 0
    assert not hasattr(second.log_dt, "_no_weight_decay")


def test_published_h3_convolves_with_the_matrix_power_of_the_shift() -> None:
    mixer = model_of("h3", "published").double().layers[0].mixer
    n = mixer.shift_C.shape[1]
    with torch.no_grad():
        mixer.shift_B.normal_(generator=torch.Generator().manual_seed(1))
    shift = torch.diag(torch.ones(n - 1, dtype=torch.float64), -1)
    powers = [torch.linalg.matrix_power(shift, k) for k in range(n)]
    kernel = torch.stack([((mixer.shift_B @ p.mT) * mixer.shift_C).sum(-1) for p in powers], 1)
    kernel[:, 0] += mixer.shift_D
    torch.testing.assert_close(mixer._taps(), kernel, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["attention", "sliding-window"])
def test_published_attention_has_a_smaller_output_map(name: str) -> None:
    model = model_of(name, "published")
    assert abs(model.layers[1].mixer.out.weight.std().item() - 0.02 / math.sqrt(4)) < 0.0005
    assert abs(model.layers[1].mixer.qkv.weight.std().item() - 0.02) < 0.001
    assert model.layers[1].mixer.dropout == (0.1 if name == "attention" else 0.0)


def test_dropped_attention_is_attention_on_average_and_without_dropout() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 12, 2, 8, dtype=torch.float64, generator=generator).unbind(0)
    positions = torch.arange(12)[None]
    expected = attention(q, k, v)
    seed = torch.tensor(0)
    torch.testing.assert_close(
        dropped_attention(q, k, v, positions, None, 0.0, seed), expected, rtol=0, atol=1e-12
    )
    draws = torch.stack(
        [dropped_attention(q, k, v, positions, None, 0.1, seed + i) for i in range(4000)]
    )
    torch.testing.assert_close(draws.mean(0), expected, rtol=0, atol=0.03)
    assert not torch.equal(draws[0], draws[1])
    other = dropped_attention(q, k, v, positions, None, 0.1, seed, layer=1)
    assert not torch.equal(draws[0], other)


def test_attention_weights_are_dropped_in_training_alone_and_by_the_seed_alone() -> None:
    model = model_of("attention", "published", embedding_dropout=0.0)
    tokens = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[5, 19], [6, 18]])
    hidden = model.eval()(tokens)
    assert torch.equal(hidden, model(tokens))
    for where in (None, positions):
        first = model.train()(tokens, where)
        assert torch.equal(first, model(tokens, where))
        model.dropout_seed += 1
        assert not torch.equal(first, model(tokens, where))


def test_a_window_of_nine_keys_is_the_released_mask_of_eight() -> None:
    """zoology hides the keys before i - 8 from query i, so that nine are left."""
    mixer = SlidingWindowMixer(16, window=9).double()
    x = torch.randn(2, 40, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, k, v = mixer.qkv(x).chunk(3, -1)
    scores = q @ k.mT / 16**0.5
    for i in range(40):
        scores[:, i, : max(0, i - 8)] = -10000.0
        scores[:, i, i + 1 :] = -10000.0
    expected = mixer.out(scores.softmax(-1) @ v)
    torch.testing.assert_close(mixer(x), expected, rtol=0, atol=1e-14)


def test_a_setting_that_contradicts_the_recipe_is_refused() -> None:
    with pytest.raises(UserError, match=r"'published' of 'mamba' sets embedding_dropout to 0\.0"):
        model_of("mamba", "published", embedding_dropout=0.2)
    assert model_of("mamba", "published", embedding_dropout=0.0).dropout == 0.0


def test_an_architecture_without_a_recipe_of_that_name_runs_the_default() -> None:
    ours, theirs = model_of("rwkv5"), model_of("rwkv5", "published")
    assert len(same_weights(ours, theirs)) == len(list(ours.parameters()))
