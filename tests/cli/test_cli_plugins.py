"""A mixer of one's own, from a file or an installed package, is treated like a built-in one."""

import json
from pathlib import Path

import pytest
from command_line import SMOKE, Command

from recall_bench import registry
from recall_bench.store.runs import ResultStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "decay_attention.py"

MIXER = '''
import torch
from pydantic import Field

from recall_bench.architectures import Architecture, Mixer
from recall_bench.registry import register_architecture


class FadingMixer(Mixer):
    def __init__(self, width, rate):
        super().__init__()
        self.out, self.rate = torch.nn.Linear(width, width), rate

    def forward(self, x):
        return self.prefill(x{flipped})[0]

    def initial_state(self, batch_size):
        return {{"sum": self.zeros(batch_size, self.out.in_features)}}

    def step(self, x, state):
        total = self.rate * state["sum"] + x
        return self.out(total), {{"sum": total}}


@register_architecture("{name}")
class Fading(Architecture):
    """A sum that fades."""

    rate: float = Field(0.5, gt=0, lt=1, description="share that stays, a token")

    def mixer(self):
        return FadingMixer(self.d_model, self.rate)
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "fading.py"
    file.write_text(MIXER.format(name="fading", flipped=""))
    return file


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "backwards.py"
    file.write_text(MIXER.format(name="backwards", flipped=".flip(1)"))
    return file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "plugin.py does not exist"),
        ("import nothing_of_this_name", "does not import: ModuleNotFoundError"),
        ("x = (", "does not import: SyntaxError"),
        ("x = 1", '@register_architecture("name")'),
        (MIXER.format(name="mamba", flipped=""), "'mamba' is taken"),
    ],
    ids=["missing", "import", "syntax", "nothing", "taken"],
)
def test_a_plugin_that_does_not_load_is_refused_by_every_command(
    recall_bench: Command, tmp_path: Path, content: str | None, said: str
) -> None:
    if content:
        (tmp_path / "plugin.py").write_text(content)
    recall_bench("check", "plugin.py").refused("plugin.py" if "taken" not in said else "", said)
    recall_bench("sweep", "--plugin", "plugin.py", "--arch", "fading").refused(said)
    recall_bench("list", "--plugin", "plugin.py").refused(said)


def test_the_fields_of_a_plugin_become_flags_with_range_and_default(
    recall_bench: Command, plugin: Path
) -> None:
    outcome = recall_bench("sweep", "--plugin", plugin, "--arch", "fading", "--help")
    outcome.succeeded("--rate", "FLOAT", "share that stays, a token", "above 0, below 1; default")
    listed = recall_bench("list", "--plugin", plugin)
    listed.succeeded("fading: A sum that fades.", "--rate FLOAT")
    words = ("sweep", "--plugin", plugin, "--arch", "fading")
    recall_bench(*words, "--rate", 1.5).refused("--rate 1.5 for fading", "above 0, below 1")
    recall_bench(*words, "--rat", 0.5).refused("--rat", "Did you mean --rate")


def test_a_mixer_that_breaks_the_contract_is_refused_before_it_is_trained(
    recall_bench: Command, tmp_path: Path, broken: Path
) -> None:
    checked = recall_bench("check", broken)
    checked.refused("'backwards' breaks the contract", "changing the future changes no past")
    assert "FAILED" in checked.out
    swept = recall_bench("sweep", "--plugin", broken, "--arch", "backwards", *SMOKE)
    swept.refused("'backwards' breaks the contract", "forward equals a scan", "recall-bench check")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_example_is_checked_swept_and_drawn_beside_what_is_built_in(
    recall_bench: Command, tmp_path: Path
) -> None:
    recall_bench("check", EXAMPLE).succeeded("decay-attention: 17 of 17 properties hold")
    words = ("sweep", "--plugin", EXAMPLE, "--arch", "decay-attention,short-conv")
    swept = recall_bench(*words, "--head-dim", "8,16", *SMOKE)
    swept.succeeded("decay-attention head_dim=8", "decay-attention head_dim=16", "short-conv")
    frame = ResultStore(tmp_path / "runs").frame()
    assert len(frame) == 3
    knobs = {json.loads(text).get("head_dim") for text in frame["knobs"]}
    assert knobs == {8, 16, None}
    recall_bench("plot", "--output", "mine.svg").succeeded()
    drawn = (tmp_path / "mine.svg").read_text()
    assert "decay-attention" in drawn
    assert "short-conv" in drawn


def test_an_installed_package_is_found_through_its_entry_points(
    recall_bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    metadata = site / "fading_mixers-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fading-mixers\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[recall_bench.architectures]\n"
        "installed-fading = fading_mixers:Fading\n"
        "gone-fading = fading_mixers.gone:Fading\n"
    )
    (site / "fading_mixers.py").write_text(MIXER.format(name="installed-fading", flipped=""))
    monkeypatch.syspath_prepend(site)
    assert "installed-fading" in registry.architectures.names()
    recall_bench("check", "installed-fading").succeeded("17 of 17 properties hold")
    recall_bench("check", "installed-fadin").refused("Did you mean 'installed-fading'?")
    recall_bench("check", "gone-fading").refused("'gone-fading'", "does not import")
    swept = recall_bench("sweep", "--arch", "installed-fading", "--rate", "0.25", *SMOKE)
    swept.succeeded("installed-fading", "1 run done.")


@pytest.mark.parametrize("name", ["mqar", *registry.architectures.builtin()])
def test_check_passes_for_what_is_built_in(recall_bench: Command, name: str) -> None:
    recall_bench("check", name).succeeded("properties hold")
