"""`check_mixer` verifies that a mixer keeps the contract of `recall_bench.architectures.base`."""

import functools
from collections.abc import Callable, Container
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import torch

from recall_bench import registry
from recall_bench.architectures import Architecture, CheckOn, Mixer
from recall_bench.config import build
from recall_bench.errors import UserError
from recall_bench.plugins import interrupts
from recall_bench.plugins.registration import one_line
from recall_bench.testing import outputs, states
from recall_bench.testing.report import Property, Report, run
from recall_bench.testing.subject import MixerSubject, distinct_layers, layers_to_check, seeded

MIXER_PROPERTIES: tuple[Property[MixerSubject], ...] = (
    Property(
        "outputs have the shape and dtype of inputs",
        "a missing transpose or squeeze, or a hard-coded dtype",
        outputs.shapes,
    ),
    Property(
        "forward equals a scan of step",
        "a normaliser, decay, gate or shift that one of the two lacks or applies one token early "
        "or late, or a state that lacks something, such as the tail of a convolution",
        outputs.forward_is_a_scan,
    ),
    Property(
        "at equals forward at the requested positions",
        "a mask or rotation that confuses a query's index in the list with its position, or an at "
        "that was not changed with forward",
        outputs.at_is_forward,
    ),
    Property(
        "prefill equals steps",
        "a state taken one token early or late, in another order or layout than step expects, or "
        "a prompt shorter than the window or kernel",
        outputs.prefill_is_a_scan,
    ),
    Property(
        "a prompt may be read in pieces",
        "a prefill that ignores the state it is given, or a position, mask or normaliser that "
        "starts afresh with each piece",
        outputs.prefill_continues,
    ),
    Property(
        "the length of the input does not matter",
        "padding to a block size, or a normalisation over the length",
        outputs.length_does_not_matter,
    ),
    Property(
        "changing the future changes no past output",
        "a mask that is off by one, a convolution padded on both sides, or a normalisation or FFT "
        "over the whole length",
        outputs.causal,
    ),
    Property(
        "finite gradients for every parameter",
        "a division by zero, the square root or logarithm of zero, exp of a large number, or a "
        "parameter that forward does not use",
        outputs.gradients,
    ),
    Property(
        "the state is a nest of tensors, batch first",
        "a number or object kept beside the tensors, or a tensor shared by the rows of a batch",
        states.batch_first,
    ),
    Property(
        "the state is constant, or grows as declared",
        "a cache without a limit in a mixer that lacks grows = True, or an initial state of "
        "another shape or dtype than later ones",
        states.size_is_as_declared,
    ),
    Property(
        "state bytes are honest",
        "prefill and step carrying different tensors, or different dtypes",
        states.bytes_are_honest,
    ),
    Property(
        "the state holds everything",
        "values that step keeps on self, in a global, behind a view, or behind a number in the "
        "state that finds them again, instead of in the state",
        states.state_holds_everything,
    ),
    Property(
        "step leaves its state unchanged",
        "an in-place operation (copy_, add_, index assignment) on a tensor of the state",
        states.step_leaves_its_state,
    ),
    Property(
        "batch rows are independent",
        "a statistic over the batch, a reshape that mixes rows, or a fixed batch size",
        outputs.rows_are_independent,
    ),
    Property(
        "bfloat16 runs",
        "a hard-coded dtype, float32 and bfloat16 mixed in one matrix product, or an overflow",
        outputs.bf16,
    ),
    Property(
        "the same seed gives the same numbers",
        "random numbers in forward outside of training, or a generator that torch.manual_seed "
        "does not reach",
        outputs.repeatable,
    ),
    Property(
        "the meta device gives the same state",
        "a hard-coded device, .item(), numpy, or a shape that depends on values",
        states.meta_device,
    ),
)


def check_mixer(
    subject: str | Architecture | type[Architecture] | Callable[..., Mixer],
    *,
    width: int | None = None,
    length: int = 96,
    batch: int = 3,
    seed: int = 0,
    on: CheckOn | None = None,
    tolerance: float | None = None,
    only: Container[str] | None = None,
    **knobs: Any,
) -> Report:
    """Verify the contract of a mixer, property by property.

    ``subject`` is the name of an architecture, an `Architecture` or its class, or a callable that
    returns a fresh `Mixer` and needs ``width``. ``knobs`` go to the architecture or the callable;
    small ones are faster. For an architecture, the check covers the layers named in ``only``; by
    default its own mixer, or every distinct layer if ``layers`` does not contain that mixer, as in
    Based. ``length`` should exceed every window, so that tokens leave it.

    ``on`` sets device and precision; by default the architecture declares them
    (`Architecture.check_on`, float64 on the CPU unless overridden). Differences are relative to the
    largest magnitude; ``tolerance`` replaces the default one.

    Raises `UserError` for an unknown name or knob and for a missing device. An error that the mixer
    raises makes the property fail.
    """
    if length < 8 or batch < 2:
        raise ValueError(f"Expected length >= 8 and batch >= 2, got {length=} and {batch=}.")
    architecture = _architecture(subject, knobs)
    layers: dict[str, Callable[[], Mixer]]
    if architecture is not None:
        title, width = architecture.name or type(architecture).__name__, architecture.d_model
        on = on or architecture.check_on
        try:
            layers = distinct_layers(architecture) if only else layers_to_check(architecture)
        except UserError:
            raise
        except BaseException as error:
            if interrupts.by_user(error):
                raise
            raise UserError(
                f"The layers of {title!r} cannot be built: {one_line(error)}."
            ) from error
        layers = {name: layer for name, layer in layers.items() if not only or name in only}
    elif width is None:
        raise ValueError("A callable that makes a mixer needs width=, the size of its inputs.")
    else:
        title = getattr(subject, "__name__", type(subject).__name__)
        layers = {title: functools.partial(cast(Callable[..., Mixer], subject), **knobs)}
    on = on or CheckOn()
    if tolerance is not None:
        on = replace(on, tolerance=tolerance)
    _require(on, title)

    results = []
    for name, factory in layers.items():
        checked = MixerSubject(factory, width, length, batch, seed, on)
        with torch.no_grad(), seeded(seed), _arithmetic(on):
            prefix = f"{name}: " if len(layers) > 1 else ""
            results += run(checked, MIXER_PROPERTIES, prefix)
    return Report(title, tuple(results), str(on))


def _arithmetic(on: CheckOn) -> AbstractContextManager[Any]:
    """Autocast if the precision is bf16, as in training."""
    device = torch.device(on.device).type
    return torch.autocast(
        device, torch.bfloat16, enabled=on.precision == "bf16", cache_enabled=False
    )


def _require(on: CheckOn, title: str) -> None:
    """Raise `UserError` if the device of a check is missing."""
    if on.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"The check of {title!r} needs {on.device}, but PyTorch sees no CUDA device. Check it "
            f"on another device (`check --device cpu`), or sweep it with --unchecked."
        )


def _architecture(subject: object, knobs: dict[str, Any]) -> Architecture | None:
    """The architecture that ``subject`` names, or None if it is a callable."""
    if isinstance(subject, str):
        return cast(Architecture, build(registry.architectures, {"name": subject, **knobs}))
    if isinstance(subject, type) and issubclass(subject, Architecture):
        return subject(**knobs)
    if isinstance(subject, Architecture):
        if knobs:
            raise ValueError(
                f"Knobs {sorted(knobs)} do not apply to an architecture that is already built. "
                f"Expected its name or class."
            )
        return subject
    return None
