"""Documents that need no download, in the style of SWDE, FDA and a phonebook, with their facts.

Three kinds: product pages, filings about medical devices, and directories of people. Each document
draws its own facts, their order and labels, one of several layouts, and the text around them:
menus, reviews, other products with prices of their own, boilerplate, other people. A label has one
fact in its document, so that the document alone determines every answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

from recall_bench.documents import words
from recall_bench.documents.corpus import Question, Range, key_ending
from recall_bench.documents.words import Draw, code, number, pick

VERSION = 1
"""Increase it when the same seed gives other documents."""

Kind: TypeAlias = Literal["product", "filing", "directory"]
KINDS: tuple[Kind, ...] = ("product", "filing", "directory")


@dataclass(frozen=True)
class Fact:
    """A value, its label in this document, and the attribute that it is a value of."""

    attribute: str
    label: str
    value: str


Block: TypeAlias = list["str | Fact"]
"""Text that stays together; a fact stands for its value."""

LAYOUTS: tuple[tuple[str, str], ...] = (
    ("{}: ", "\n"),
    ("{}\n", "\n"),
    ("{} | ", "\n"),
    ("- {}: ", "\n"),
    ("{} ..... ", "\n"),
    ("{} = ", "\n"),
    ("{}: ", "; "),
    ("The {} is ", ". "),
)
"""The text before a value, which contains its label, and after it."""

Attribute: TypeAlias = tuple[tuple[str, ...], Draw]
"""The possible labels of an attribute, its name first, and a function that draws a value."""

PRODUCT: tuple[Attribute, ...] = (
    (("manufacturer", "producer", "vendor"), words.company),
    (("model number", "model", "part number"), code("@@-####")),
    (("item number", "SKU", "catalog number"), code("########")),
    (("price", "our price", "online price"), words.price),
    (("weight", "item weight", "shipping weight"), number(40, 9800, "{} g")),
    (("dimensions", "size", "product dimensions"), words.size),
    (("color", "finish"), pick(*words.COLOURS)),
    (("material", "main material"), pick(*words.MATERIALS)),
    (("warranty", "guarantee"), number(2, 60, "{} months")),
    (("release date", "market date", "first sale"), words.date),
    (("designer", "design"), words.person),
    (("assembly site", "shipping point"), pick(*words.CITIES)),
    (("power", "power consumption"), number(5, 2400, "{} W")),
    (("bar code", "EAN"), code("4############")),
)
FILING: tuple[Attribute, ...] = (
    (("applicant", "submitter", "sponsor"), words.company),
    (("contact person", "official correspondent"), words.person),
    (("telephone", "phone number"), code("(###) 555-####")),
    (("date prepared", "preparation date"), words.date),
    (("trade name", "proprietary name", "device name"), lambda draw: _trade_name(draw)),
    (("common name", "usual name"), pick(*words.DEVICES)),
    (("product code", "procode"), code("@@@")),
    (("regulation number", "regulation"), code("8##.####")),
    (("510(k) number", "submission number"), code("K######")),
    (("predicate device", "legally marketed device"), lambda draw: _trade_name(draw)),
    (
        ("sterilization", "sterilization method"),
        pick("steam", "ethylene oxide", "gamma rays", "none"),
    ),
    (("shelf life", "expiry"), number(6, 84, "{} months")),
    (("lot size", "sample size"), number(8, 4000, "{} units")),
    (("review panel", "panel"), pick(*words.DEPARTMENTS)),
)
PERSON: tuple[Attribute, ...] = (
    (("phone", "telephone", "extension"), code("###-####")),
    (("room", "office"), code("@ ###")),
    (("badge", "staff number"), code("@@######")),
    (("start date", "joining date"), words.date),
    (("city", "home town"), pick(*words.CITIES)),
)


@dataclass(frozen=True)
class Generated:
    """A document and one question for each of its facts; ``attributes`` has one for each."""

    kind: Kind
    text: str
    questions: list[Question]
    attributes: list[str]


def generate_document(kind: Kind, size: int, draw: Random) -> Generated:
    """A document of a kind, of about ``size`` characters or a little more, drawn from ``draw``."""
    return _WRITERS[kind](size, draw)


def _product(size: int, draw: Random) -> Generated:
    name = _product_name(draw)
    top: list[Block] = [[_menu(draw)], [f"{name}\n"]]
    facts = _facts(PRODUCT, draw, draw.randint(5, len(PRODUCT)))
    fillers: list[Callable[[Random], str]] = [_review, _other_products, _menu]
    return _finish("product", top, _laid_out(facts, draw), fillers, size, draw)


def _filing(size: int, draw: Random) -> Generated:
    heading = draw.choice(("510(k) Summary", "Premarket notification", "Summary of safety"))
    facts = _facts(FILING, draw, draw.randint(5, len(FILING)))
    fillers: list[Callable[[Random], str]] = [_boilerplate, _boilerplate, _cited_device]
    return _finish("filing", [[f"{heading}\n"]], _laid_out(facts, draw), fillers, size, draw)


def _directory(size: int, draw: Random) -> Generated:
    """People, each with the same attributes, as a table or in blocks."""
    chosen = draw.sample(PERSON, draw.randint(2, 4))
    attributes = [(known[0], draw.choice(known), value) for known, value in chosen]
    table = draw.random() < 0.5
    gap = draw.choice((" | ", " - ", "; ", "\t"))
    blocks: list[Block] = [[f"{draw.choice(words.CITIES)} staff directory\n"]]
    if table:
        blocks.append([gap.join(["name", *(label for _, label, _ in attributes)]) + "\n"])
    seen: set[str] = set()
    written = 0
    while written < size or len(seen) < 3:
        if draw.random() < 0.1:
            blocks.append([f"\n{draw.choice(words.DEPARTMENTS)}\n"])
        name = words.person(draw)
        if name in seen:
            continue
        seen.add(name)
        block: Block = [name if table else f"{name}\n"]
        for attribute, label, value in attributes:
            fact = Fact(attribute, f"{label} of {name}", value(draw))
            block += [gap, fact] if table else [f"  {label}: ", fact, "\n"]
        blocks.append([*block, "\n"] if table else block)
        written += sum(len(part if isinstance(part, str) else part.value) for part in block)
    return _write("directory", blocks)


_WRITERS: dict[Kind, Callable[[int, Random], Generated]] = {
    "product": _product,
    "filing": _filing,
    "directory": _directory,
}


def _facts(known: Sequence[Attribute], draw: Random, count: int) -> list[Fact]:
    """Some of the attributes in any order, each with a label and a value."""
    return [
        Fact(labels[0], draw.choice(labels), value(draw))
        for labels, value in draw.sample(known, count)
    ]


def _laid_out(facts: list[Fact], draw: Random) -> list[Block]:
    """The facts in one to three groups, each with a layout of its own."""
    groups = draw.randint(1, 3)
    capital = draw.random() < 0.5
    blocks = []
    for group in range(groups):
        before, after = draw.choice(LAYOUTS)
        block: Block = []
        for fact in facts[group::groups]:
            shown = fact.label
            if capital and not before.startswith("The"):
                shown = shown[0].upper() + shown[1:]
            block += [before.format(shown), fact, after]
        if block:
            blocks.append([*block, "\n"])
    return blocks


def _finish(
    kind: Kind,
    top: list[Block],
    facts: list[Block],
    fillers: Sequence[Callable[[Random], str]],
    size: int,
    draw: Random,
) -> Generated:
    """The document: its top, then facts and fillers in any order until it is long enough."""
    body = list(facts)
    written = sum(
        len(part if isinstance(part, str) else part.value) for block in top + body for part in block
    )
    while written < size:
        text = draw.choice(fillers)(draw)
        body.append([text])
        written += len(text)
    draw.shuffle(body)
    return _write(kind, top + body)


def _write(kind: Kind, blocks: list[Block]) -> Generated:
    """Put the blocks one after the other and note where the facts are."""
    pieces: list[str] = []
    placed: list[tuple[Fact, Range]] = []
    position = 0
    for part in (part for block in blocks for part in block):
        text = part if isinstance(part, str) else part.value
        if not isinstance(part, str):
            placed.append((part, (position, position + len(text))))
        pieces.append(text)
        position += len(text)
    questions = [
        Question(0, fact.label, key_ending(fact.label), fact.value, (place,))
        for fact, place in placed
    ]
    return Generated(kind, "".join(pieces), questions, [fact.attribute for fact, _ in placed])


def _trade_name(draw: Random) -> str:
    return (
        f"{draw.choice(words.MAKERS)}{draw.choice(('Flow', 'Guard', 'Scan', 'Care', 'Pro'))} "
        + (code("@##")(draw))
    )


def _product_name(draw: Random) -> str:
    return f"{draw.choice(words.MAKERS)} {draw.choice(words.ADJECTIVES)} {draw.choice(words.GOODS)}"


def _menu(draw: Random) -> str:
    entries = draw.sample(words.MENU, draw.randint(3, 8))
    return draw.choice(("\n", " > ", " ")).join(entries) + "\n"


def _review(draw: Random) -> str:
    praise = ". ".join(draw.sample(words.PRAISE, draw.randint(1, 3)))
    return f"{draw.randint(1, 5)} stars. {praise}. By {words.person(draw)} on {words.date(draw)}\n"


def _other_products(draw: Random) -> str:
    lines = [f"{_product_name(draw)} {words.price(draw)}" for _ in range(draw.randint(1, 4))]
    return draw.choice(("Customers also bought", "Related items")) + "\n" + "\n".join(lines) + "\n"


def _boilerplate(draw: Random) -> str:
    return ". ".join(draw.sample(words.BOILERPLATE, draw.randint(1, 3))) + ".\n"


def _cited_device(draw: Random) -> str:
    return (
        f"Compared with the {_trade_name(draw)} (K{draw.randrange(10**6):06}) by "
        f"{words.company(draw)}, cleared {words.date(draw)}.\n"
    )
