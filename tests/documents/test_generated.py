from random import Random

import pytest

from recall_bench.documents.generated import KINDS, LAYOUTS, Kind, generate_document


@pytest.mark.parametrize("kind", KINDS)
def test_every_question_has_one_answer_and_it_stands_where_the_document_says(kind: Kind) -> None:
    for seed in range(60):
        made = generate_document(kind, 700, Random(seed))
        assert len({question.key for question in made.questions}) == len(made.questions) >= 3
        assert len(made.attributes) == len(made.questions)
        for question in made.questions:
            ((start, stop),) = question.ranges
            assert made.text[start:stop] == question.answer
            assert question.ending == f". {question.key}:"


@pytest.mark.parametrize("kind", KINDS)
def test_documents_have_about_the_size_asked_for(kind: Kind) -> None:
    for size in (300, 1000, 4000):
        sizes = [len(generate_document(kind, size, Random(seed)).text) for seed in range(30)]
        assert size <= min(sizes)
        assert sum(sizes) / len(sizes) < 1.5 * size + 400


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_document_and_no_two_are_alike(kind: Kind) -> None:
    made = [generate_document(kind, 400, Random(seed)).text for seed in range(100)]
    assert made == [generate_document(kind, 400, Random(seed)).text for seed in range(100)]
    assert len({*made}) == 100


def test_every_layout_occurs_and_facts_come_in_any_order() -> None:
    made = [generate_document("product", 300, Random(seed)) for seed in range(300)]
    for before, _ in LAYOUTS:
        shown = before.format("warranty")
        assert any(shown in document.text for document in made), shown
    orders = {
        tuple(attribute for attribute in document.attributes if attribute in ("price", "weight"))
        for document in made
    }
    assert {("price", "weight"), ("weight", "price")} <= orders


def test_other_prices_and_people_stand_beside_those_asked_for() -> None:
    made = [generate_document("product", 1500, Random(seed)) for seed in range(50)]
    asked = [d for d in made if "price" in d.attributes]
    assert sum(d.text.count("$") > 1 for d in asked) > len(asked) / 2
