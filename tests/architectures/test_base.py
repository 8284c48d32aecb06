"""What `Recurrence` derives from `mix` and `finish`, and what `Carry` promises them."""

from typing import Any

import pytest
import torch
from recurrence import draw
from torch import Tensor, nn

from recall_bench.architectures import Carry, Recurrence
from recall_bench.kernels.short_conv import short_conv
from recall_bench.testing import check_mixer

WIDTH = 6


class TwoBranches(Recurrence):
    """Two convolutions of one name in two scopes, a gate that rises with the position."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.weights = nn.Parameter(draw(2, WIDTH, 3).float())
        self.out = nn.Linear(WIDTH, WIDTH)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        branches = []
        for prefix, weight in zip(("left", "right"), self.weights, strict=True):
            with carry.scope(prefix):
                branches.append(carry("conv", short_conv, x, weight))
        position = carry.start[:, None] + torch.arange(x.shape[1], device=x.device)
        carry.loss("size", branches[0].square().mean())
        return branches[0] * branches[1], position[..., None].to(x.dtype) + 1

    def finish(self, y: Tensor, position: Tensor) -> Tensor:
        return self.out(y / position)


def test_a_recurrence_of_two_methods_keeps_the_whole_contract() -> None:
    check_mixer(TwoBranches, width=WIDTH, length=24).raise_if_failed()


def test_a_sequence_may_be_cut_anywhere() -> None:
    mixer, x = TwoBranches().double(), draw(2, 9, WIDTH)
    whole, end = mixer.prefill(x)
    torch.testing.assert_close(mixer(x), whole)
    for cut in range(10):
        first, state = mixer.prefill(x[:, :cut])
        second, state = mixer.prefill(x[:, cut:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), whole)
        torch.testing.assert_close(state, end)


def test_the_state_has_one_entry_for_each_name_and_one_for_the_position() -> None:
    _, state = TwoBranches().prefill(torch.ones(2, 5, WIDTH))
    assert set(state) == {"left.conv", "right.conv", "start"}
    assert state["start"].tolist() == [5, 5]


def test_the_position_costs_nothing_where_no_one_asks_for_it() -> None:
    class Plain(TwoBranches):
        def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, ...]:
            y = carry("conv", short_conv, x, self.weights[0])
            return y, torch.ones_like(y)

    assert set(Plain().initial_state(3)) == {"conv"}


def test_a_name_is_used_once_in_a_call() -> None:
    class Twice(TwoBranches):
        def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, ...]:
            y = carry("conv", short_conv, x, self.weights[0])
            return carry("conv", short_conv, y, self.weights[1]), y

    with pytest.raises(ValueError, match=r"carry\('conv', …\): the name was used before"):
        Twice()(torch.ones(1, 4, WIDTH))


def test_a_state_that_lacks_a_name_is_refused() -> None:
    mixer = TwoBranches()
    _, state = mixer.prefill(torch.ones(1, 4, WIDTH))
    with pytest.raises(ValueError, match=r"The state holds right.conv, start, but mix asked for"):
        mixer.step(torch.ones(1, WIDTH), {k: v for k, v in state.items() if k != "left.conv"})


def test_auxiliary_losses_are_those_of_the_last_call() -> None:
    mixer, x = TwoBranches(), torch.ones(2, 5, WIDTH)
    mixer(x)
    assert set(mixer.losses) == {"size"}
    first = mixer.losses["size"]
    mixer.at(2 * x, torch.tensor([[1], [2]]))
    torch.testing.assert_close(mixer.losses["size"], 4 * first)


def test_the_seed_is_there_in_training_alone() -> None:
    seen: list[Any] = []

    class Random(TwoBranches):
        def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, ...]:
            seen.append(carry.seed)
            return super().mix(x, carry)

    mixer, x = Random(), torch.ones(1, 3, WIDTH)
    mixer.seed = torch.tensor(7)
    mixer.train()(x)
    mixer.eval()(x)
    mixer.prefill(x)
    assert seen == [torch.tensor(7), None, None]


@pytest.mark.parametrize("name", ["mix", "finish"])
def test_an_attribute_may_not_hide_a_method_of_the_contract(name: str) -> None:
    with pytest.raises(AttributeError, match=f"has a method called '{name}', which a Parameter"):
        setattr(TwoBranches(), name, nn.Parameter(torch.ones(3)))


def test_kept_weights_load_under_a_parameters_old_name() -> None:
    class Renamed(TwoBranches):
        renamed = {"kernels": "weights"}

    old = TwoBranches().state_dict()
    old["kernels"] = old.pop("weights") * 2
    mixer = Renamed()
    mixer.load_state_dict(old)
    assert torch.equal(mixer.weights, old["kernels"])
