"""Wraps layers of other packages as mixers, without importing those packages."""

from recall_bench.architectures.adapters.fla import fla_layer
from recall_bench.architectures.adapters.installed import installed
from recall_bench.architectures.adapters.mamba_ssm import mamba_layer
from recall_bench.architectures.adapters.plain import plain_module

__all__ = ["fla_layer", "installed", "mamba_layer", "plain_module"]
