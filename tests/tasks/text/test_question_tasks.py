import shutil
from pathlib import Path

import pytest
import torch
from document_data import values, write_squad, write_swde
from torch import Tensor

from recall_bench.config import RunConfig
from recall_bench.documents.cache import VARIABLE
from recall_bench.errors import UserError
from recall_bench.tasks import IGNORE, Examples, generate
from recall_bench.tasks.text.prepared import prepared
from recall_bench.tasks.text.questions import QuestionTask
from recall_bench.tasks.text.squad import SQuAD
from recall_bench.tasks.text.swde import SWDE
from recall_bench.testing import check_task


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_swde(tmp_path_factory.mktemp("swde"))


def swde(site: Path, **options: object) -> SWDE:
    return SWDE(**{"data": str(site), "length": 64, "vocab_size": 300, **options})


def texts(task: QuestionTask, made: Examples) -> list[tuple[str, str]]:
    """(what a row shows before its answer, the answer) of each row."""
    codec, found = task.codec(), []
    for inputs, labels in zip(made.inputs, made.labels, strict=True):
        asked = (labels != IGNORE).nonzero().flatten()
        shown = inputs[: int(asked[0]) + 1]
        found.append((codec.decode(shown.tolist()), codec.decode(labels[asked].tolist()).strip()))
    return found


def test_swde_keeps_the_contract(site: Path) -> None:
    check_task(swde(site, truncation="random")).raise_if_failed()


def test_squad_keeps_the_contract(tmp_path: Path) -> None:
    file = write_squad(tmp_path / "towns.json")
    check_task(SQuAD(data=str(file), length=64, tokenizer="bytes")).raise_if_failed()


def test_every_question_is_asked_once_in_the_published_form(site: Path) -> None:
    task = swde(site, length=256)
    numbers: list[str] = []
    for split in ("train", "validation", "test"):
        for index in range(len(task.segments(split))):
            for shown, answer in texts(task, generate(task, split, index, 0)):
                document, _, key = shown.removesuffix(":").rpartition(". ")
                assert key in ("title", "maker", "price")
                assert answer in document
                numbers.append(f"{key} {answer}")
    expected = [
        f"{key} {value}"
        for number in (*range(40), *range(1000, 1040))
        for key, value in values(number).items()
    ]
    assert sorted(numbers) == sorted(expected)


def test_no_page_is_in_two_splits_and_the_site_held_out_is_in_none_but_its_own(site: Path) -> None:
    mine = prepared(swde(site))
    pages = {
        part: {mine.questions[number].document for number in numbers}
        for part, numbers in mine.members.items()
    }
    for one in pages:
        for other in pages:
            assert one == other or not pages[one] & pages[other]
    assert {mine.site_of[page] for page in pages["test", 1]} == {mine.sites.index("shop-bolt")}
    for split in ("train", "validation", "test"):
        assert {mine.site_of[page] for page in pages[split, 0]} == {0}, split


def test_sites_to_hold_out_are_named_or_none(site: Path) -> None:
    assert [s.held_out for s in swde(site, held_out="shop-acme").segments("test")] == [0, 1]
    assert [s.held_out for s in swde(site, held_out="nothing").segments("test")] == [0]
    with pytest.raises(UserError, match="Did you mean 'shop-acme'"):
        swde(site, held_out="shop-acmee").segments("test")
    with pytest.raises(UserError, match="all sites are held out"):
        swde(site, held_out="shop-acme+shop-bolt").segments("test")


def test_lengths_and_numbers_of_questions_are_options(site: Path) -> None:
    task = swde(site, test_lengths="64,96", train_questions=10, test_questions=2)
    assert [str(segment) for segment in task.segments("train")] == ["64:0:10"]
    assert [str(s) for s in task.segments("test")] == ["64:0:2", "64:1:2", "96:0:2", "96:1:2"]


def test_a_cut_document_holds_the_answer_in_its_middle_or_anywhere(site: Path) -> None:
    for truncation in ("centred", "random"):
        task = swde(site, length=32, truncation=truncation)
        for shown, answer in texts(task, generate(task, "train", 0, 0)):
            assert answer in shown.rpartition(". ")[0]


def test_training_may_learn_every_token_and_tests_never_ask_more_than_answers(site: Path) -> None:
    task = swde(site, length=256, learn="everything")
    pad = task.codec().pad
    made = generate(task, "train", 0, 0)
    shown = made.inputs != pad
    assert torch.equal(made.labels != IGNORE, shown)
    assert torch.equal(made.labels[:, :-1][shown[:, :-1]], made.inputs[:, 1:][shown[:, :-1]])
    asked = swde(site, length=256)
    for part in (generate(t, "test", 0, 0) for t in (task, asked)):
        assert all(len(answer) < 20 for _, answer in texts(asked, part))


def questions(task: QuestionTask, inputs: Tensor, labels: Tensor) -> tuple[str, dict[str, str]]:
    """The document of a training row, and its questions: key -> answer, in order."""
    row = torch.cat([inputs, labels[-1:]])
    text = task.codec().decode(row[row != task.codec().pad].tolist())
    ends = task.codec().decode(labels[labels != IGNORE].tolist())
    document, asked = text, {}
    for answer in reversed(ends.splitlines()):
        document, _, key = document.removesuffix(f"{answer}\n").removesuffix(":").rpartition(". ")
        asked[key] = answer.strip()
    return document, dict(reversed(asked.items()))


def test_a_training_row_may_ask_everything_that_it_shows(site: Path) -> None:
    task = swde(site, length=256, ask="all")
    made = generate(task, "train", 0, 0)
    orders = set()
    for inputs, labels in zip(made.inputs, made.labels, strict=True):
        document, asked = questions(task, inputs, labels)
        assert {*asked} == {"maker", "price", "title"}
        assert all(answer in document for answer in asked.values())
        orders.add(tuple(asked))
        spans = task.describe(task.segments("train")[0], inputs, labels)
        names = [span.name for span in spans if span.role != "filler"]
        assert names == ["document", "answer", "question", "answer", "question", "answer"]
    assert len(orders) == 6
    for split in ("validation", "test"):
        one = generate(swde(site, length=256), split, 0, 0)
        assert torch.equal(generate(task, split, 0, 0).inputs, one.inputs)


def test_a_cut_training_row_asks_what_is_left_of_the_page(site: Path) -> None:
    task = swde(site, length=80, ask="all", truncation="random", tokenizer="bytes")
    made = generate(task, "train", 0, 0)
    counts = set()
    for inputs, labels in zip(made.inputs, made.labels, strict=True):
        document, asked = questions(task, inputs, labels)
        assert all(answer in document for answer in asked.values())
        counts.add(len(asked))
    assert {1, 2} <= counts


def test_seen_answers_and_the_gap_are_told(site: Path) -> None:
    task = swde(site, length=256)
    mine = prepared(task)
    made = generate(task, "test", 1, 0)
    assert (made.slices["seen"] == 0).all(), "no article of one site is in the other"
    learnt = generate(task, "train", 0, 0)
    assert (learnt.slices["seen"][learnt.labels != IGNORE] == 1).all()
    # The price stands last in the page, the title first: its last place is the heading.
    gaps = {}
    for row in range(len(made.inputs)):
        key = mine.keys[int(made.slices["key"][row, -1])]
        gaps.setdefault(key, set()).add(int(made.slices["gap"][row, -1]))
    assert max(gaps["price"]) < min(gaps["title"])


def test_chance_is_what_a_table_of_training_answers_gets(site: Path) -> None:
    task = swde(site, tokenizer="bytes", length=256)
    train, test = generate(task, "train", 0, 0), generate(task, "test", 1, 0)
    table: dict[tuple[str, int], list[int]] = {}
    rights = []
    for made, fitting in ((train, True), (test, False)):
        for (shown, _), labels in zip(texts(task, made), made.labels.tolist(), strict=True):
            key = shown.rpartition(". ")[2]
            answer = [token for token in labels if token != IGNORE]
            places = enumerate(answer[:-1] if fitting else answer)
            if fitting:
                for at, token in places:
                    table.setdefault((key, at), []).append(token)
                continue
            guesses = {at: table.get((key, at), [-1]) for at, _ in enumerate(answer)}
            right = [
                guesses[at].count(token) == max(map(guesses[at].count, guesses[at]))
                and token in guesses[at]
                for at, token in places
            ]
            rights.append(sum(right) / len(right))
    chance = task.chance(task.segments("test")[1])
    # Where several answers are equally common a table may guess any of them.
    assert 0 < chance <= sum(rights) / len(rights) + 1e-9


def test_a_run_is_named_after_the_content_and_not_the_path(site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(site, copy)
    runs = [
        RunConfig(task={"name": "swde", "data": str(path)}, architecture={"name": "based"})
        for path in (site, copy)
    ]
    assert runs[0].run_id == runs[1].run_id
    assert str(site) not in runs[0].model_dump_json()
    again = RunConfig.model_validate_json(runs[0].model_dump_json())
    assert again == runs[0]
    next(copy.rglob("0001.htm")).write_text("changed")
    changed = RunConfig(task={"name": "swde", "data": str(copy)}, architecture={"name": "based"})
    assert changed.run_id != runs[0].run_id


def test_prepared_data_outlive_their_files_and_are_asked_for_without_the_cache(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site, copy)
    next(copy.rglob("0001.htm")).write_text("<p>another page")
    task = swde(copy)
    expected = generate(task, "test", 0, 0)
    shutil.rmtree(copy)
    prepared.cache_clear()
    assert torch.equal(generate(task, "test", 0, 0).inputs, expected.inputs)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "empty"))
    prepared.cache_clear()
    with pytest.raises(UserError, match=r"not known on this machine\. Expected --data PATH"):
        task.segments("train")


def test_data_are_asked_for_and_too_few_pages_are_told(site: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"swde reads documents\. Expected --data PATH"):
        SWDE()
    one = write_swde(tmp_path / "one", pages=1, sites=("acme",))
    with pytest.raises(UserError, match=r"No .* questions are left for swde: 1 sites"):
        [SWDE(data=str(one)).segments(split) for split in ("train", "validation", "test")]


def test_questions_that_do_not_fit_are_counted(site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site, copy)
    folder, long = copy / "shop" / "shop-acme(40)", "very " * 40 + "long"
    file = copy / "groundtruth" / "shop" / "shop-acme-maker.txt"
    said = (folder / "0002.htm").read_text()
    (folder / "0002.htm").write_text(said.replace(values(2)["maker"], long))
    file.write_text(file.read_text().replace(values(2)["maker"] + "\n", long + "\n"))
    report = swde(copy).report()
    assert report.warnings == {"question that does not fit 64 tokens, left out": 1}
