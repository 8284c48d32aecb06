from official_data import pages, passages

from recall_bench.evals.harness.prompts import ANSWER_TOKENS, JustReadTwice


class Words:
    """A token a word, the space before it included."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        assert add_special_tokens is False
        first, *others = string.split(" ")
        words = [*([first] if first else []), *(f" {word}" for word in others if word)]
        self.known += [word for word in dict.fromkeys(words) if word not in self.known]
        return [self.known.index(word) for word in words]

    def tok_decode(self, tokens: list[int]) -> str:
        return "".join(self.known[token] for token in tokens)


def page(words: int, at: int, key: str = "director", value: str = "Jane Roe") -> dict[str, str]:
    """A page of so many words, the value from word ``at`` on, and the question."""
    text = [f"w{number}" for number in range(words)]
    text[at : at + 2] = value.split()
    return {"text": f"{' '.join(text)}. {key}:", "key": key, "value": value}


def test_a_page_is_followed_by_its_key_and_a_colon() -> None:
    prompt = JustReadTwice(Words(), True)
    assert prompt(pages()[1]) == (
        "The film of page 1. Director: Jane Roe 1. It came out in 1957, "
        "in a town of 31 people. Director:"
    )


def test_a_page_is_shown_twice_after_what_it_will_be_asked() -> None:
    prompt = JustReadTwice(Words(), True, twice=True)
    row = {
        "text": "A page.\nSummary of information above...\n key:",
        "key": "the key",
        "value": "v",
    }
    assert prompt(row) == "Information about The key. A page.\nA page. The key:"
    seen = "One. Director: Jane. x"
    row = {"text": f"{seen}. Director:Director: ", "key": "Director", "value": "Jane"}
    assert prompt(row) == f"Information about Director. {seen}.\n{seen}. Director:"


def test_a_passage_keeps_the_sentence_that_breaks_off() -> None:
    row = passages()[2]
    assert JustReadTwice(Words(), False)(row) == row["text"].strip()
    assert JustReadTwice(Words(), False, twice=True)(row) == (
        f"{row['question']} {row['context']}\n{row['text'].strip()}"
    )


def test_the_window_is_centred_on_the_first_of_key_and_value() -> None:
    size = 20
    prompt = JustReadTwice(Words(), True, ANSWER_TOKENS + size)
    said = prompt(page(100, at=60)).removesuffix(". Director:").split()
    assert len(said) == size
    assert said.index("Jane") == size // 2
    assert said[0] == "w50"
    early = page(100, at=60)
    early["text"] = early["text"].replace("w40", "Director")
    said = prompt(early).removesuffix(". Director:").split()
    assert said.index("Director") == size // 2
    assert "Jane" not in said


def test_at_the_beginning_the_window_is_whole_and_at_the_end_it_ends() -> None:
    prompt = JustReadTwice(Words(), True, ANSWER_TOKENS + 20)
    said = prompt(page(100, at=3)).removesuffix(". Director:").split()
    assert (said[0], len(said)) == ("w0", 20)
    said = prompt(page(100, at=98)).removesuffix(". Director:").split()
    assert (said[0], said[-2:]) == ("w88", ["Jane", "Roe"])


def test_a_page_that_fits_is_not_cut_and_one_without_the_answer_keeps_its_end() -> None:
    prompt = JustReadTwice(Words(), True, ANSWER_TOKENS + 20)
    short = page(20, at=5)
    assert prompt(short) == JustReadTwice(Words(), True)(short)
    lost = page(100, at=60) | {"value": "Nobody", "key": "author"}
    lost["text"] = lost["text"].replace("director:", "author:")
    assert prompt(lost).removesuffix(". Author:").split()[-1] == "w99"


def test_both_showings_of_a_page_are_cut_alike() -> None:
    prompt = JustReadTwice(Words(), True, ANSWER_TOKENS + 20, twice=True)
    intro, said = prompt(page(100, at=60)).split(". ", 1)
    first, second = said.removesuffix(" Director:").split("\n")
    assert intro == "Information about Director"
    assert first == second
    assert len(first.split()) == 20


def test_a_passage_is_cut_but_never_its_last_sentence() -> None:
    context = " ".join(f"c{number}" for number in range(200))
    row = {"text": f"{context}. The answer to this is", "value": "c120"}
    said = JustReadTwice(Words(), False, ANSWER_TOKENS + 20)(row)
    assert said.endswith("c129 The answer to this is")
    assert said.startswith("c110 ")
