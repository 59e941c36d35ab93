"""The shipped parts: the wheel has the configuration and the command, and the scripts run."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources."""
    pytest.importorskip("hatchling")
    copy = tmp_path_factory.mktemp("sources")
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    (copy / "docs").mkdir()
    for name in ("pyproject.toml", "README.md", "docs/results.jsonl"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_has_the_configuration_and_the_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = [name for name in names if name.endswith("entry_points.txt")]
        points = archive.read(entry).decode()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        facts = archive.read(metadata).decode()
    assert "\nAuthor: nasrun's authors\n" in facts
    assert "\nSummary: Neural architecture search" in facts
    sources = ROOT / "src"
    assert {str(path.relative_to(sources)) for path in sources.rglob("*.py")} <= names
    assert "nasrun/pages/templates/style.css" in names
    for name in ("config.yaml", "strategy/snas.yaml", "genotypes/darts_v2.yaml"):
        assert f"nasrun/conf/{name}" in names
    assert "nasrun/results.jsonl" in names
    shipped = {name for name in names if name.startswith("nasrun/conf/")}
    assert len(shipped) == len(list((ROOT / "conf").rglob("*.yaml")))
    assert "nasrun = nasrun.cli.main:main" in points
    assert not any("tests/" in name for name in names)


def test_an_unpacked_wheel_works_in_any_folder(wheel, here):
    place = here.parent / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    program = f"import sys; sys.path.insert(0, {str(place)!r}); import nasrun.cli.main as c; "
    program += "assert c.__file__.startswith(sys.path[0]), c.__file__; c.main([*sys.argv[1:]])"
    for words in (["list", "strategy"], ["reproduce"]):
        told = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stderr
        assert "1812.09926" in told.stdout
    assert "measured: " in told.stdout
    assert list(here.iterdir()) == []


def test_no_message_sends_to_a_script_that_a_wheel_does_not_have():
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        told = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        explained = {
            node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for text in map(str, told - explained):
            assert not re.search(r"scripts/|python -m", text), f"{path}: {text}"


@pytest.mark.parametrize("name", ["scripts/demo", "scripts/test"])
def test_the_readmes_commands_can_be_run(name):
    script = ROOT / name
    if not script.exists():
        pytest.fail(f"the README names {name}")
    assert os.access(script, os.X_OK)
    assert name in (ROOT / "README.md").read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)
