import subprocess
import sys
import time

from recall_bench.sweeps.process_age import process_age


def test_a_process_knows_how_long_it_has_been_running() -> None:
    code = (
        "import time; time.sleep(0.3)\n"
        "from recall_bench.sweeps.process_age import process_age; print(process_age())"
    )
    began = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    whole = time.monotonic() - began
    if process_age() is not None:
        assert 0.3 <= float(ran.stdout) <= whole + 0.02  # it counts in hundredths
