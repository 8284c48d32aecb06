"""Puts faults back one at a time, each in a copy of the package, and asks the fuzz to find them.

python -m fuzz.faults [--cases 400]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTS = {
    "a plugin ends the program as it is imported": (
        "plugin",
        "registry.py",
        "    except BaseException as error:\n        if interrupts.by_user(error):",
        "    except Exception as error:\n        if interrupts.by_user(error):",
    ),
    "a knob has no default": (
        "plugin",
        "plugins/registration.py",
        "if info.is_required():",
        "if False:",
    ),
    "what __init__ raises is a traceback": (
        "plugin",
        "testing/mixers.py",
        "        except BaseException as error:",
        "        except ZeroDivisionError as error:",
    ),
    "memory in a global behind a number passes": (
        "plugin",
        "testing/states.py",
        "if another_process.possible(subject):",
        "if False:",
    ),
    "an odd answer stops the loader": (
        "data",
        "documents/squad_entries.py",
        'if isinstance(answer, dict) and text_of(answer.get("text")).strip():',
        'if answer["text"].strip():',
    ),
    "U+2028 ends a JSON line": (
        "data",
        "documents/squad.py",
        'enumerate(text.split("\\n"))',
        "enumerate(text.splitlines())",
    ),
    "a folder named like a file is opened": (
        "data",
        "documents/squad.py",
        "for file in _entries(path) if file.is_file()",
        "for file in _entries(path)",
    ),
    "a count of many digits in the ground truth is converted": (
        "data",
        "documents/swde.py",
        'COUNT = re.compile(r"\\d{1,9}")',
        'COUNT = re.compile(r"\\d+")',
    ),
    "bench times no architecture at all": (
        "command-line",
        "cli/request.py",
        "if not (names := split_names(arch)):",
        "if (names := split_names(arch)) is None:",
    ),
    "an encoding that lacks a character": (
        "command-line",
        "cli/app.py",
        "    output.accept_every_character()\n",
        "",
    ),
}


def found(kind: str, file: str, old: str, new: str, cases: int) -> bool:
    """Whether the fuzz finds a fault in a copy of the package."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "recall_bench")
        shutil.copytree(ROOT / "recall_bench", package)
        text = (package / file).read_text()
        if old not in text:
            raise SystemExit(f"{file} does not contain {old!r}")
        (package / file).write_text(text.replace(old, new, 1))
        words = [
            "--kind",
            kind,
            "--cases",
            str(cases),
            "--processes",
            "0",
            "--seed",
            "1",
            "--first",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "fuzz", *words],
            cwd=ROOT / "tests",
            env={**os.environ, "PYTHONPATH": folder},
            stdout=subprocess.PIPE,
        )
    return done.returncode == 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=400, help="cases for each fault")
    cases = parser.parse_args().cases
    missed = 0
    for name, (kind, file, old, new) in FAULTS.items():
        caught = found(kind, file, old, new, cases)
        missed += not caught
        print(f"{'found' if caught else 'MISSED'}: {name}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
