"""The grammar of ``layers``: "mamba{d_state=8}+self*2" names the mixers from the bottom up.

    layers = item {"+" item}
    item   = (layer | "(" layers ")") ["*" number]
    layer  = name ["{" knob "=" value {"," knob "=" value} "}"]

Spaces between the parts are ignored. `parse` returns a tree, `show` turns it back into text, and
`flatten` lists its layers. Square brackets and bars are reserved for parallel branches,
``[a|b]gate``.
"""

import functools
import re
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from recall_bench.errors import UserError

MOST_LAYERS = 512
DEEPEST = 16
"""The deepest nesting of groups."""

NAME = re.compile(r"[^-+*(){}\[\]|,=\s](?:[^+*(){}\[\]|,=]*[^+*(){}\[\]|,=\s])?")
KNOB = re.compile(r"[A-Za-z_][\w-]*")
VALUE = re.compile(r"[^(){}\[\]|,=\s](?:[^(){}\[\]|,=]*[^(){}\[\]|,=\s])?")
NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Layer:
    """One mixer: an architecture's name, or "self", and the knobs in its braces as text."""

    name: str
    knobs: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        knobs = ",".join(f"{knob}={value}" for knob, value in self.knobs)
        return f"{self.name}{{{knobs}}}" if knobs else self.name


@dataclass(frozen=True)
class Repeated:
    """A sequence of nodes repeated ``times`` times, at least twice."""

    nodes: "tuple[Node, ...]"
    times: int

    def __str__(self) -> str:
        single = len(self.nodes) == 1 and isinstance(self.nodes[0], Layer)
        return f"{show(self.nodes) if single else f'({show(self.nodes)})'}*{self.times}"


Node: TypeAlias = Layer | Repeated


def show(nodes: tuple[Node, ...] | list[Layer]) -> str:
    """The text that `parse` reads as ``nodes``."""
    return "+".join(map(str, nodes))


def flatten(nodes: tuple[Node, ...]) -> list[Layer]:
    """The layers in order, repeats written out."""
    listed: list[Layer] = []
    for node in nodes:
        listed += [node] if isinstance(node, Layer) else flatten(node.nodes) * node.times
    return listed


def count(nodes: tuple[Node, ...]) -> int:
    """How many layers `flatten` lists."""
    return sum(1 if isinstance(node, Layer) else count(node.nodes) * node.times for node in nodes)


@functools.lru_cache(maxsize=256)
def parse(text: str) -> tuple[Node, ...]:
    """The tree of a text; raises `UserError` with the position of the mistake, counted from 1."""
    parser = _Parser(text)
    nodes = parser.nodes(0)
    if parser.position < len(text):
        parser.refuse(f"has '{text[parser.position]}' where '+' or '*' may follow")
    if (number := count(nodes)) > MOST_LAYERS:
        raise UserError(
            f"layers={text!r} stands for {number:,} layers. Expected at most {MOST_LAYERS}."
        )
    return nodes


class _Parser:
    def __init__(self, text: str):
        self.text, self.position = text, 0
        self.skip()

    def refuse(self, problem: str, position: int | None = None) -> NoReturn:
        character = (self.position if position is None else position) + 1
        raise UserError(
            f"layers={self.text!r} {problem}, at character {character}. "
            f"Expected names joined by '+', such as 'short-conv+self' or "
            f"'(mamba{{d_state=8}}+self)*2'."
        )

    def skip(self) -> None:
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1

    def accept(self, mark: str) -> bool:
        """Step over ``mark`` if it comes next."""
        if not self.text.startswith(mark, self.position):
            return False
        self.position += 1
        self.skip()
        return True

    def match(self, pattern: re.Pattern[str], missing: str) -> str:
        match = pattern.match(self.text, self.position)
        if match is None:
            self.refuse(missing)
        self.position = match.end()
        self.skip()
        return match[0]

    def nodes(self, depth: int) -> tuple[Node, ...]:
        nodes = self.item(depth)
        while self.accept("+"):
            nodes += self.item(depth)
        return nodes

    def item(self, depth: int) -> tuple[Node, ...]:
        opened = self.position
        nodes: tuple[Node, ...]
        if self.accept("("):
            if depth == DEEPEST:
                self.refuse(f"nests groups deeper than {DEEPEST} levels", opened)
            nodes = self.nodes(depth + 1)
            if not self.accept(")"):
                self.refuse("has a '(' without its ')'", opened)
        else:
            nodes = (self.layer(),)
        if not self.accept("*"):
            return nodes
        started = self.position
        digits = self.match(NUMBER, "has no whole number after '*'")
        times = int(digits[:9])
        if times < 1:
            self.refuse("repeats something 0 times", started)
        return nodes if times == 1 else (Repeated(nodes, times),)

    def layer(self) -> Layer:
        if self.text.startswith(("[", "|", "]"), self.position):
            self.refuse("asks for parallel branches, [a|b], which are not available yet")
        name = self.match(NAME, "has an empty entry")
        opened = self.position
        if not self.accept("{"):
            return Layer(name)
        if "}" not in self.text[opened:]:
            self.refuse("has a '{' without its '}'", opened)
        knobs: dict[str, str] = {}
        while True:
            started = self.position
            knob = self.match(KNOB, "has no knob=value in braces").replace("-", "_")
            if knob in knobs:
                self.refuse(f"gives '{knob}' twice", started)
            if not self.accept("="):
                self.refuse(f"has no '=' after the knob '{knob}'")
            knobs[knob] = self.match(VALUE, f"has no value for the knob '{knob}'")
            if self.accept("}"):
                return Layer(name, tuple(knobs.items()))
            if not self.accept(","):
                self.refuse("has neither ',' nor '}' after a value")
