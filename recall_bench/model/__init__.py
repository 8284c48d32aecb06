"""The backbone around the mixers, decoding, and the measured size of the state."""

from recall_bench.model.backbone import Model, build_model

__all__ = ["Model", "build_model"]
