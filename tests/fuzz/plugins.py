"""Plugin files that fail at every moment and in every way, and some that work."""

from pathlib import Path
from random import Random

from fuzz.case import Case

TEXT = '''
import dataclasses, os, sys, torch
from pydantic import Field, field_validator
from recall_bench.architectures import Architecture, Mixer
from recall_bench.config import Component
from recall_bench.registry import register_architecture, register_task

MEMORY = {{}}

class M(Mixer):
    def __init__(self, width):
        super().__init__()
        self.out = torch.nn.Linear(width, width)
        {init}

    def forward(self, x):
        {forward}
        return self.out(x.cumsum(1))

    def initial_state(self, batch):
        {initial}
        return {{"sum": self.zeros(batch, self.out.in_features)}}

    def step(self, x, state):
        {step}
        total = state["sum"] + x
        return self.out(total), {{"sum": total}}

{before}
{decorator}
class A({base}):
    """A sum."""
    {field}

    {extra}

    def mixer(self):
        {mixer}
        return M(self.d_model)

{after}
'''
RAISES = [
    "raise RuntimeError('boom')",
    "raise SystemExit",
    "sys.exit(0)",
    "sys.exit('text')",
    "raise KeyboardInterrupt",
    "raise BaseException('odd')",
    "raise UnicodeEncodeError('ascii', 'x', 0, 1, 'odd')",
    "raise MemoryError",
    "1 / 0",
    "assert False",
    "raise OSError(28, 'No space left on device')",
    "exec('x = (')",
    "import nothing_of_this_name",
    "raise GeneratorExit",
    "raise StopIteration",
]
FIELDS = [
    "knob: int",
    "knob: float = Field(ge=0)",
    "epochs: int = 4",
    "batch_size: int = 4",
    "device: str = 'cpu'",
    "store: str = 'x'",
    "seed: int = 0",
    "task: str = ''",
    "arch: str = ''",
    "precision: str = 'fp32'",
    "name: str = 'x'",
    "version: int = 3",
    "layers: int = 2",
    "layers: str = '(('",
    "layers: str = ''",
    "d_model: str = 'wide'",
    "d_model: int = -4",
    "mixer: int = 3",
    "stack: int = 3",
    "knob: object = dataclasses",
    "knob: int = 'text'",
    "knob: int = Field(70, le=64)",
    "knob: float = float('nan')",
    "knob: str = '\\ud800'",
    "_hidden: int = 3",
    "model_config = 3",
    "model_fields: int = 3",
]
DECORATORS = [
    "@register_architecture('../../evil')",
    "@register_architecture('')",
    "@register_architecture(None)",
    "@register_architecture('x' * 3000)",
    "@register_architecture('[red]')",
    "@register_architecture('a+b')",
    "@register_architecture('self')",
    "@register_architecture('based')",
    "@register_architecture('plug', version='x')",
    "@register_architecture('plug', version=0)",
    "@register_architecture('plug', stored_as='a/b')",
    "@register_architecture",
    "@register_task('plug')",
    "@register_architecture('plug')\n@dataclasses.dataclass",
    "@dataclasses.dataclass\n@register_architecture('plug')",
    "",
]
BEFORE = [
    "register_architecture('plug')(3)",
    "register_architecture('plug')(lambda: 3)",
    "register_architecture('plug')(M(3))",
    "register_architecture('plug')(M)",
    "register_architecture('plug')(int)",
]
VALIDATOR = """@field_validator('knob')
    @classmethod
    def _odd(cls, value):
        {}
        return value
"""
STEPS = [
    "key = float(state['sum'].flatten()[0]); total = MEMORY.get(key, 0) + x; "
    "n = float(len(MEMORY) + 1); MEMORY[n] = total; "
    "return self.out(total), {'sum': torch.full_like(state['sum'], n)}",
    "return x",
    "return x, 3",
    "state['sum'] += x",
]
COMMANDS = [
    ["check", "plug.py"],
    ["list", "--plugin", "plug.py"],
    ["list", "plug", "--plugin", "plug.py"],
    ["show", "mqar", "--plugin", "plug.py", "--preset", "smoke"],
    ["sweep", "--plugin", "plug.py", "--arch", "plug", "--preset", "smoke"],
    ["sweep", "--plugin", "plug.py", "--arch", "based", "--layers", "plug", "--preset", "smoke"],
    ["sweep", "--plugin", "plug.py", "--arch", "plug", "--knob", "8", "--unchecked"],
]


def make(draw: Random, directory: Path) -> Case:
    parts = {
        "init": "pass",
        "forward": "pass",
        "initial": "pass",
        "step": "pass",
        "before": "",
        "decorator": "@register_architecture('plug')",
        "base": "Architecture",
        "field": "knob: int = Field(4, ge=1, le=64, description='a knob')",
        "extra": "",
        "mixer": "pass",
        "after": "",
    }
    works = draw.random() < 0.1
    hidden = False
    if not works:
        place = draw.choice([*parts, "validator", "raw"])
        match place:
            case "field":
                parts["field"] = draw.choice(FIELDS)
            case "decorator":
                parts["decorator"] = draw.choice(DECORATORS)
            case "base":
                parts["base"] = draw.choice(["object", "Component", "Mixer", "int", "dict"])
            case "before":
                parts["before"] = draw.choice([*BEFORE, *RAISES])
            case "validator":
                parts["extra"] = VALIDATOR.format(draw.choice(RAISES))
            case "extra":
                parts["extra"] = draw.choice(["name = 3", "grids = 3", "source = 3", "marker = 3"])
            case "mixer":
                parts["mixer"] = draw.choice([*RAISES, "return None", "return 3", "return self"])
            case "step":
                parts["step"] = draw.choice([*STEPS, *RAISES])
                hidden = parts["step"] == STEPS[0]
            case "raw":
                (directory / "plug.py").write_bytes(
                    draw.choice([b"", b"\x00", b"\xff\xfe", b"x = 1", b"def f(:", b"#" * 10**5])
                )
            case _:
                parts[place] = draw.choice(RAISES)
    if not (directory / "plug.py").exists():
        text = TEXT.format(**parts)
        (directory / "plug.py").write_text(text, "utf-8", errors="replace")
    words = draw.choice(COMMANDS) if not hidden else COMMANDS[0]
    plans = "--unchecked" in words or words[0] == "sweep"
    return Case(list(words), works=works and not plans, refused=hidden)
