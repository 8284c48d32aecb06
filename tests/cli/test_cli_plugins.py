"""A mixer of one's own, from a file or an installed package, is treated like a built-in one."""

from pathlib import Path

import pytest
from command_line import SMOKE, Command

from recall_bench import registry
from recall_bench.store.runs import ResultStore
from recall_bench.testing import Report, check_mixer

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
    ("content", "message"),
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
    recall_bench: Command, tmp_path: Path, content: str | None, message: str
) -> None:
    if content:
        (tmp_path / "plugin.py").write_text(content)
    recall_bench("check", "plugin.py").refused(
        "plugin.py" if "taken" not in message else "", message
    )
    recall_bench("sweep", "--plugin", "plugin.py", "--arch", "fading").refused(message)
    recall_bench("list", "--plugin", "plugin.py").refused(message)


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
    swept.refused("'backwards' breaks the contract", "changing the future", "--unchecked")
    assert "FAILED" in swept.out
    assert not (tmp_path / "runs").exists()


def test_a_mixer_that_breaks_the_contract_is_trained_where_the_user_insists(
    recall_bench: Command, tmp_path: Path, broken: Path
) -> None:
    words = ("sweep", "--plugin", broken, "--arch", "backwards,short-conv", "--unchecked")
    recall_bench(*words, *SMOKE).succeeded()
    records = ResultStore(tmp_path / "runs").records()
    verified = {record.config["architecture"]["name"]: record.verified for record in records}
    assert verified == {"backwards": "unchecked", "short-conv": None}


def test_a_plugin_is_checked_once_and_again_when_it_changes(
    recall_bench: Command, tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*arguments: object, **options: object) -> Report:
        calls.append(arguments)
        return check_mixer(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("recall_bench.testing.plugins.check_mixer", counted)
    words = ("sweep", "--plugin", plugin, "--arch", "fading", *SMOKE)
    for _ in range(2):
        recall_bench(*words).succeeded()
    assert len(calls) == 1
    (record,) = ResultStore(tmp_path / "runs").records()
    assert record.verified == "17/17 float64 cpu"
    assert ResultStore(tmp_path / "runs").skipped == []
    plugin.write_text(plugin.read_text() + "\n")
    recall_bench(*words).succeeded()
    assert len(calls) == 2


def test_a_built_in_stack_with_a_layer_of_a_plugin_has_that_layer_checked(
    recall_bench: Command, tmp_path: Path, broken: Path
) -> None:
    words = ("sweep", "--plugin", broken, "--arch", "short-conv", *SMOKE)
    recall_bench(*words, "--layers", "self+backwards").refused("'short-conv' breaks the contract")
    recall_bench(*words).succeeded()


def test_check_runs_where_and_how_the_user_says(recall_bench: Command, plugin: Path) -> None:
    recall_bench("check", plugin, "--precision", "fp32").succeeded("hold (float32 cpu)")
    recall_bench("check", plugin, "--precision", "fp31").refused("'fp31'", "Did you mean 'fp32'")
    recall_bench("check", plugin, "--device", "tpu").refused("'tpu'", "cpu, cuda")


def test_a_class_that_is_no_recipe_cannot_be_registered(
    recall_bench: Command, tmp_path: Path
) -> None:
    file = tmp_path / "module.py"
    text = MIXER.format(name="fading", flipped="").replace("(Architecture)", "(Mixer)")
    file.write_text(text.replace("    rate: float = Field", "    rate = Field"))
    refused = recall_bench("check", file)
    refused.refused(
        "Cannot register Fading as architecture 'fading'", "recall_bench.architectures.Arch"
    )


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
    knobs = {knobs.get("head_dim") for knobs in frame["knobs"]}
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
