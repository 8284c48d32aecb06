import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.documents.tokens import Bytes, Codec, make_codec
from recall_bench.errors import UserError

TEXT = ["Publisher: Ember & Söhne\nPrice: $12.50, 9780316125581\n"] * 20


def codecs() -> list[Codec]:
    return [Bytes(), make_codec("bpe", 300, "test", TEXT)[0]]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(text=st.text(max_size=40), start=st.integers(0, 40), size=st.integers(1, 10))
def test_tokens_of_a_range_spell_it_and_all_tokens_spell_the_text(
    text: str, start: int, size: int
) -> None:
    for codec in codecs():
        whole = codec.encode(text)
        assert codec.decode([*whole, codec.pad]) == text
        stop = min(start + size, len(text))
        if start >= stop:
            continue
        ids, [(first, after)] = codec.encode_with(text, [(start, stop)])
        assert ids == whole
        assert text[start:stop] in codec.decode(ids[first:after])
        assert text[start:stop] not in codec.decode(ids[first : after - 1]) or "\ufffd" in text


def test_padding_and_line_ends_are_known() -> None:
    for codec in codecs():
        assert set(codec.encode("\n")) <= set(codec.stops)
        assert codec.pad not in codec.stops
        assert not set(codec.encode("no line end")) & set(codec.stops)


def test_a_number_has_the_same_tokens_wherever_it_stands() -> None:
    _, codec = codecs()
    assert codec.encode("\n978031")[-6:] == codec.encode(" 978031")[-6:]
    assert len(codec.encode("978031")) == 6


def test_a_vocabulary_is_learnt_once_and_named_after_what_it_was_learnt_from() -> None:
    first, name = make_codec("bpe", 300, "once", TEXT)
    again, same = make_codec("bpe", 300, "once", iter(()))
    assert (again, same) == (first, name)
    assert make_codec("bpe", 300, "twice", ["other"] * 9)[1] != name


def test_without_tokenizers_the_extra_and_the_way_around_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"recall-bench\[documents\].*--tokenizer bytes"):
        make_codec("bpe", 300, "x", TEXT)
