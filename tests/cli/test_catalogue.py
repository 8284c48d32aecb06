"""`list` names every architecture once, whatever names it answers to."""

import pytest
from command_line import Command


def test_an_alias_is_told_beside_the_name_and_not_listed_again(recall_bench: Command) -> None:
    listed = recall_bench("list")
    listed.succeeded("rwkv5 (in records rwkv): RWKV-5's time mixing")
    assert listed.out.count("RWKV-5's time mixing") == 1


@pytest.mark.parametrize("name", ["rwkv", "rwkv5"])
def test_either_name_shows_the_entry_and_its_paper(recall_bench: Command, name: str) -> None:
    recall_bench("list", name).succeeded("rwkv5 (in", "--head-dim INT", "arxiv.org/abs/2404.05892")
