"""`scripts/setup` makes an environment that is missing or broken, and needs a Python that suits."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "scripts/setup"
SUITS = """#!/usr/bin/env bash
echo "$0 $1 $2" >> log
if [ "$2" = venv ]; then rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; fi
"""
DOES_NOT = "#!/usr/bin/env bash\nexit 1\n"


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path):
    """A folder with the script, and a function that runs it with a Python."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SETUP, tmp_path / "scripts/setup")
    (tmp_path / "pyproject.toml").touch()

    def run(python):
        return subprocess.run(
            [tmp_path / "scripts/setup"],
            env={**os.environ, "PYTHON": str(python)},
            capture_output=True,
            text=True,
            check=False,
        )

    return tmp_path, run


@pytest.mark.parametrize("there", [None, DOES_NOT])
def test_a_missing_and_a_broken_environment_are_made_and_then_left_alone(clone, there):
    folder, run = clone
    python = program(folder / "bin/python3.12", SUITS)
    if there is not None:
        program(folder / ".venv/bin/python", there)
        (folder / ".venv/.installed-core").touch()
    assert (done := run(python)).returncode == 0, done.stderr
    log = (folder / "log").read_text()
    assert f"{python} -m venv\n" in log
    assert log.endswith(".venv/bin/python -m pip\n")
    (folder / "log").unlink()
    assert run(python).returncode == 0
    assert (folder / "log").read_text().startswith(".venv/bin/python -c ")
    assert " -m " not in (folder / "log").read_text()


def test_an_environment_without_pip_gets_it_and_keeps_what_is_installed(clone):
    folder, run = clone
    text = SUITS.replace("if [", 'case "$2" in "import pip,"*) exit 1;; esac\nif [', 1)
    program(folder / ".venv/bin/python", text)
    (folder / ".venv/kept").touch()
    assert (done := run(folder / "nowhere")).returncode == 0, done.stderr
    assert " -m ensurepip\n" in (folder / "log").read_text()
    assert (folder / ".venv/kept").exists()


def test_a_python_that_does_not_suit_is_refused_with_what_to_type(clone):
    folder, run = clone
    for python in (program(folder / "bin/python3.9", DOES_NOT), folder / "nowhere"):
        refused = run(python)
        assert refused.returncode == 2
        assert refused.stderr == (
            f"PYTHON={python}: not Python 3.10 or newer with the module venv; set another, for "
            "example PYTHON=python3.12\n"
        )
    assert not (folder / ".venv").exists()
