"""Answers from the text of a prompt about a generated document, as a reader would find them."""

import re

VALUE_KINDS = {
    "phone": r"\d{3}-\d{4}",
    "room": r"[A-Z] \d{3}",
    "badge": r"[A-Z]{2}\d{6}",
    "date": r"\d{4}-\d\d-\d\d|\d{1,2} [A-Z][a-z]+ \d{4}|[A-Z][a-z]+ \d{1,2}, \d{4}",
    "city": r"[A-Z][a-z]+",
}
LABELS = {
    "phone": ("phone", "telephone", "extension"),
    "room": ("room", "office"),
    "badge": ("badge", "staff number"),
    "date": ("start date", "joining date"),
    "city": ("city", "home town"),
}


def answer(prompt: str) -> str:
    """The value that a prompt, ``document. label:``, asks for."""
    document, _, label = prompt.removesuffix(":").rpartition(". ")
    if " of " in label:
        return about_person(document, *label.split(" of ", 1))
    name = re.escape(label)
    line = f"(?im)^(?:- )?{name}(?:: | [|] | [.]{{5}} | = |\\n)(.*?)$"
    inline = f"(?i)(?:^|\\n|; ){name}: ([^;\\n]*?); "
    for pattern in (f"(?i)The {name} is (.*?)[.] ", inline, line):
        if found := re.search(pattern, document + "\n"):
            return found.group(1).strip()
    raise AssertionError(f"no {label!r} in {document!r}")


def about_person(document: str, label: str, name: str) -> str:
    """What a directory, table or blocks, says about a person."""
    kind = next(kind for kind, labels in LABELS.items() if label in labels)
    lines = document.split("\n")
    for at, line in enumerate(lines):
        if line == name:  # a block
            for below in lines[at + 1 :]:
                if below.startswith(f"  {label}: "):
                    return below.removeprefix(f"  {label}: ")
        if line.startswith(name) and line != name:
            cells = re.split(r" \| |; |\t| - ", line)[1:]
            for cell in cells:
                if re.fullmatch(VALUE_KINDS[kind], cell):
                    return cell
    raise AssertionError(f"no {label!r} of {name!r} in {document!r}")
