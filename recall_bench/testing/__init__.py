"""Contract checks that plugin authors run on their own mixers and tasks.

from recall_bench.testing import check_mixer, check_task

def test_my_mixer_keeps_the_contract():
    check_mixer("my-mixer", d_model=32).raise_if_failed()
"""

from recall_bench.testing.component import check_component
from recall_bench.testing.mixers import check_mixer
from recall_bench.testing.plugins import ContractBroken, verify
from recall_bench.testing.report import Report, Result
from recall_bench.testing.tasks import check_task

__all__ = [
    "ContractBroken",
    "Report",
    "Result",
    "check_component",
    "check_mixer",
    "check_task",
    "verify",
]
