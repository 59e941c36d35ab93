"""Completions that a shell is offered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasrun.cli.parts import PARTS
from nasrun.cli.verbs import VERBS


@pytest.fixture
def completed(nasrun, monkeypatch):
    """Return a function that tells what the shell is offered for a line."""

    def complete(line):
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        answer = nasrun("-sc", "query=bash")
        assert answer.status == 0, answer.err
        return answer.out.split()

    return complete


def test_the_shell_asks_the_installed_command(here):
    line = "nasrun se"
    asked = subprocess.run(
        [Path(sys.executable).with_name("nasrun"), "-sc", "query=bash"],
        env={**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"search", "select"} <= set(asked.stdout.split())


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("nasrun se", {"search", "select"}),
        ("nasrun ", set(VERBS)),
        ("nasrun search strat", {"strategy="}),
        ("nasrun search strategy=", {"strategy=darts", "strategy=snas", "strategy=random"}),
        ("nasrun search strategy.weight_opt", {"strategy.weight_optimizer."}),
        ("nasrun select method=", {"method=perturb", "method=magnitude"}),
        ("nasrun select method=per", {"method=perturb"}),
        ("nasrun plan retrain epo", {"epochs="}),
        ("nasrun plan retr", {"retrain"}),
        ("nasrun list str", {"strategy"}),
        ("nasrun analyze ", set(PARTS)),
        ("nasrun analyze cells gen", {"genotype="}),
        ("nasrun analyze ranks co", {"count=", "column="}),
        ("nasrun list runs so", {"sort="}),
        ("nasrun reproduce see", {"seeds="}),
        ("nasrun export outputs/run format=", {"format=onnx", "format=pt2"}),
        ("nasrun export outputs/run format=p", {"format=pt2"}),
        ("nasrun analyze landscape part=", {"part=test", "part=train", "part=validation"}),
        (
            "nasrun search strategy=random evaluator=naswot strategy.num",
            {"strategy.num_candidates="},
        ),
        ("nasrun search trust=[x] --cfg job strategy.weight_opt", {"strategy.weight_optimizer."}),
        ("nasrun latency batch=8 space.chan", {"space.channels="}),
        ("nasrun plan search method=perturb strategy.weight_opt", {"strategy.weight_optimizer."}),
    ],
)
def test_the_shell_completes(completed, line, some):
    offered = set(completed(line))
    assert some <= offered
    word = line.split(" ")[-1]
    assert all(choice.startswith(word) for choice in offered), offered


def test_a_word_for_any_name_is_not_offered_as_a_value(completed):
    assert completed("nasrun list runs finished=") == ["finished=true", "finished=false"]


def test_the_shell_gets_a_script(here):
    script = subprocess.run(
        [Path(sys.executable).with_name("nasrun"), "-sc", "install=bash"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "complete" in script
    assert "nasrun" in script
    subprocess.run(["bash", "-n", "-c", script], check=True)


def test_runs_and_genotypes_are_offered(completed, finished):
    run = str(finished)
    for line in ("nasrun select run=", f"nasrun select run={run[:12]}"):
        assert f"run={run}" in completed(line)
    assert f"run={run}/select/magnitude" in completed("nasrun retrain run=")
    assert {"genotype=darts_v2", "genotype=random"} <= set(completed("nasrun retrain genotype="))
    assert completed("nasrun show genotype=darts_v") == ["genotype=darts_v1", "genotype=darts_v2"]
    assert run in completed("nasrun export ")
    assert "format=" in completed("nasrun export form")


@pytest.mark.parametrize(
    "words",
    [["--shell-completion"], ["-sc", "install=tcsh"], ["-sc", "install"], ["-sc", "x", "y"]],
)
def test_completion_for_no_shell_is_refused(nasrun, words):
    assert (
        f"{' '.join(words)}: use {words[0]} install=bash or install=zsh" in nasrun(*words).refusal
    )
