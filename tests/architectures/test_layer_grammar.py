"""The grammar of ``layers``: what is printed parses to the same tree, what is wrong has a place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_bench.architectures.layer_grammar import Layer, Repeated, count, flatten, parse, show
from recall_bench.errors import UserError

WORDS = st.from_regex(r"[a-z0-9]([a-z0-9._ -]{0,6}[a-z0-9])?", fullmatch=True)
KNOBS = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True),
    st.one_of(WORDS, st.floats(allow_nan=False).map(str), st.integers().map(str)),
    max_size=3,
)
LAYERS = st.builds(Layer, WORDS, KNOBS.map(lambda knobs: tuple(knobs.items())))


def trees(inner):
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.builds(Repeated, some, st.integers(2, 3))


NODES = st.lists(st.recursive(LAYERS, trees, max_leaves=5), min_size=1, max_size=3).map(tuple)


@given(NODES.filter(lambda nodes: count(nodes) <= 512))
def test_what_is_printed_parses_to_the_same_tree(nodes):
    assert parse(show(nodes)) == nodes
    assert count(nodes) == len(flatten(nodes))
    assert flatten(parse(show(flatten(nodes)))) == flatten(nodes)


@given(st.text("ab({[+*,=|]}) 12", max_size=12))
def test_any_text_is_parsed_or_refused_with_one_message(text):
    try:
        nodes = parse(text)
    except UserError as error:
        message = str(error)
    else:
        message = f"layers={text!r} parses" if parse(show(nodes)) == nodes else show(nodes)
    assert message.startswith(f"layers={text!r} ")


def test_knobs_repeats_and_groups_are_written_out_from_the_bottom_up():
    listed = flatten(parse("(mamba{d_state=8}+self)*2 + self * 2 + (a)"))
    assert list(map(str, listed)) == [*["mamba{d_state=8}", "self"] * 2, "self", "self", "a"]


def test_knobs_may_be_written_as_flags_are_and_with_blanks():
    assert parse("h3{ head-dim = 2, d_state=4 }") == (
        Layer("h3", (("head_dim", "2"), ("d_state", "4"))),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty entry, at character 1"),
        ("a++b", "empty entry, at character 3"),
        ("a+", "empty entry, at character 3"),
        ("a b{x=1} c", "has 'c' where '+' or '*' may follow, at character 10"),
        ("a+(b", "'(' without its ')', at character 3"),
        ("a)", "has ')' where '+' or '*' may follow, at character 2"),
        ("a}", "has '}' where '+' or '*' may follow, at character 2"),
        ("a{x=1", "'{' without its '}', at character 2"),
        ("a{x=1(}", "neither ',' nor '}' after a value, at character 6"),
        ("a{}", "no knob=value in braces, at character 3"),
        ("a{x}", "no '=' after the knob 'x', at character 4"),
        ("a{x=}", "no value for the knob 'x', at character 5"),
        ("a{x=1,x=2}", "gives 'x' twice, at character 7"),
        ("a*", "no whole number after '*', at character 3"),
        ("a*0", "repeats something 0 times, at character 3"),
        ("a*513", "stands for 513 layers. Expected at most 512"),
        ("((a*99)*99)*99", "stands for 970,299 layers"),
        ("(" * 17 + "a" + ")" * 17, "nests groups deeper than 16 levels, at character 17"),
        ("[a|b]gate", "parallel branches, [a|b], which are not available yet, at character 1"),
        ("a+[self|b]", "not available yet, at character 3"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text, message):
    with pytest.raises(UserError) as caught:
        parse(text)
    assert message in str(caught.value)
