"""Mixers made of layers that people own already; the packages they come from are not imported."""

from recall_bench.architectures.adapters.fla import fla_layer
from recall_bench.architectures.adapters.installed import installed
from recall_bench.architectures.adapters.mamba_ssm import mamba_layer
from recall_bench.architectures.adapters.plain import plain_module

__all__ = ["fla_layer", "installed", "mamba_layer", "plain_module"]
