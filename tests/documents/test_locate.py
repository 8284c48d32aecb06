import pytest

from recall_bench.documents.locate import MOST, ranges_of, tidy


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (": 9780316125581", "9780316125581"),
        ("Simon &amp; Schuster", "Simon & Schuster"),
        ("Tom &amp;amp; Co", "Tom & Co"),
        ("  two \u00a0 words ", "two words"),
        (":", ""),
    ],
)
def test_ground_truth_is_tidied(value: str, found: str) -> None:
    assert tidy(value) == found


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [
        ("Go", "Google and Go", ["Go"]),
        ("Ann Lee", "by Ann\nLee, ANN LEE", ["Ann\nLee"]),
        ("ann lee", "by ANN LEE", ["ANN LEE"]),
        ("Ada's", "Ada\u2019s book", ["Ada\u2019s"]),
        ("1990-1995", "1990\u20131995", ["1990\u20131995"]),
        ("Yahoo!", "Yahoo!s", ["Yahoo!"]),
        ("$5.00", "cost $5.00.", ["$5.00"]),
        ("a", "a b a", ["a", "a"]),
        ("5.0", "510", []),
        ("", "text", []),
    ],
)
def test_a_value_is_found_as_whole_words(value: str, text: str, found: list[str]) -> None:
    assert [text[start:stop] for start, stop in ranges_of(value, text)] == found


def test_no_more_places_are_kept_than_said() -> None:
    assert len(ranges_of("x", "x " * 1000)) == MOST
