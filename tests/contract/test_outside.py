"""A strategy in one Python file and one YAML file outside the package passes the contract tests."""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

STRATEGY = '''
"""The first of a few drawn architectures: no training at all."""

from nasrun.score import Score
from nasrun.strategies.base import Candidate, CandidateStrategy


class First(CandidateStrategy):
    unsound = "could be drawn; use another space"
    shared_score = None

    def __init__(self, *, num_drawn: int) -> None:
        if num_drawn < 1:
            raise ValueError(f"num_drawn={num_drawn}: use at least 1")
        self.num_drawn = num_drawn
        self.found = []

    @property
    def rounds(self):
        return self.num_drawn

    @property
    def candidates(self):
        return self.found

    def begin(self, context):
        self.space = context.space

    def run_round(self):
        genotype = self.space.sample()
        score = sum(choice == "skip_connect" for choice in genotype.values()) / len(genotype)
        self.found.append(Candidate(genotype, Score("skips", score)))
        return {"skips": score}

    def state_dict(self):
        return {"found": [[dict(one.genotype), one.score.value] for one in self.found]}

    def load_state_dict(self, state):
        genotype = self.space.sample
        self.found = [
            Candidate(type(genotype())(self.space.name, choices), Score("skips", score))
            for choices, score in state["found"]
        ]

    def finish(self, folder):
        return {"judged_by": "skips", "skips": max(one.score.value for one in self.found)}
'''
YAML = """# The first of a few drawn architectures, without training
defaults:
  - _self_
  - override /selector@_global_.selector: fittest
_target_: outsider.first.First
num_drawn: 3 # ours
"""
TESTS = Path(__file__).parent
SMALL = ["width=2", "depth=3", "budget.threads=1", "images=64"]


@pytest.fixture
def outside(here, monkeypatch):
    """A folder that has only a user's package and configuration."""
    (here / "outsider").mkdir()
    (here / "outsider" / "__init__.py").touch()
    (here / "outsider" / "first.py").write_text(STRATEGY)
    (here / "myconf" / "strategy").mkdir(parents=True)
    (here / "myconf" / "strategy" / "first.yaml").write_text(YAML)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield here
    for name in [name for name in sys.modules if name.partition(".")[0] == "outsider"]:
        del sys.modules[name]


def test_it_runs_from_the_command_line(outside, forked):
    found = f"hydra.searchpath=[file://{outside / 'myconf'}]"
    begun = forked("run", "strategy=first", found, "trust=[outsider]", *SMALL,
                   "stages=[search,select]")  # fmt: skip
    assert begun.wait() == 0
    run = outside / "outputs/digits-darts-first/v001"
    scores = [
        json.loads(line)["skips"]
        for line in (run / "search/metrics.jsonl").read_text().splitlines()
    ]
    assert len(scores) == 3
    assert json.loads((run / "select/fittest/result.json").read_text())["skips"] == max(scores)


def test_results_of_its_earlier_code_are_not_taken_for_those_of_the_present_one(outside, nasrun):
    found = f"hydra.searchpath=[file://{outside / 'myconf'}]"
    words = ["search", "strategy=first", found, "trust=[outsider]", *SMALL]
    assert "the code of" not in nasrun(*words).err
    result = outside / "outputs/digits-darts-first/v001/search/result.json"
    before = json.loads(result.read_text())["code"]
    assert [*map(len, before.values())] == [1, 1] and set(before) == {"nasrun", "outsider"}
    assert "the code of" not in nasrun(*words).err
    path = outside / "outsider" / "first.py"
    path.write_text(path.read_text() + "# another thought\n")
    told = " ".join(nasrun(*words).err.split())
    assert "search: the code of outsider has changed since it was finished" in told
    assert json.loads(result.read_text())["code"] == before
    result.unlink()  # as if it had been interrupted after its last round
    told = " ".join(nasrun(*words).err.split())
    assert "search: the code of outsider has changed since its last round" in told
    after = json.loads(result.read_text())["code"]
    assert after["nasrun"] == before["nasrun"]
    assert len(after["outsider"]) == 2 and after["outsider"][:1] == before["outsider"]
    assert "the code of" not in nasrun(*words).err


def test_untrusted_it_is_refused_with_the_word_that_would_do(outside, nasrun):
    before = sorted(outside.rglob("*"))
    found = f"hydra.searchpath=[file://{outside / 'myconf'}]"
    refusal = nasrun("search", "strategy=first", found, *SMALL).refusal
    assert "strategy._target_=outsider.first.First" in refusal
    assert "trust=[outsider]" in refusal
    assert sorted(outside.rglob("*")) == before
    assert "outsider.first" not in sys.modules


def test_a_configuration_cannot_trust_itself(outside, nasrun):
    path = outside / "myconf/strategy/first.yaml"
    path.write_text(path.read_text() + "trust: [outsider]\n")
    found = f"hydra.searchpath=[file://{outside / 'myconf'}]"
    assert "trust=[outsider]" in nasrun("search", "strategy=first", found, *SMALL).refusal
    assert "outsider.first" not in sys.modules


def test_a_mistyped_keyword_of_it_is_found(outside, nasrun):
    found = f"hydra.searchpath=[file://{outside / 'myconf'}]"
    words = ["search", "strategy=first", found, "trust=[outsider]", *SMALL]
    assert "did you mean strategy.num_drawn" in nasrun(*words, "strategy.num_draw=2").refusal
    assert "did you mean first" in nasrun(*words[:1], "strategy=frist", *words[2:]).refusal
    assert "strategy.num_drawn=0: use at least 1" in nasrun(*words, "strategy.num_drawn=0").refusal
    assert "no such package" in nasrun(*words[:3], "trust=[outsidr]").refusal


def test_the_contract_tests_take_it_unedited(outside, monkeypatch):
    if os.environ.get("NASRUN_INSIDE"):
        pytest.skip("this test runs the contract tests, itself among them")
    monkeypatch.setenv("NASRUN_INSIDE", "yes")
    words = [str(TESTS), "--conf", "myconf", "--trust", "outsider"]
    words += ["-k", "[first", "-v", "-p", "no:cacheprovider", "-p", "no:xdist"]
    status, shown = copied(words, outside / "shown")
    assert status == 0, shown
    passed = [line for line in shown.splitlines() if "PASSED" in line]
    for name in (
        "test_it_composes_and_builds_and_names_selectors_that_can_read_it[first]",
        "test_interrupted_it_ends_as_uninterrupted_in_a_legal_genotype[first]",
        "test_another_seed_searches_otherwise[first]",
        "test_it_chooses_a_legal_genotype_and_interrupted_the_same[first-",
        "test_a_strategy_lists_every_keyword[first]",
    ):
        assert any(name in line for line in passed), shown


def copied(words, file):
    """Return the status and the output of pytest in a copy of this process."""
    pid = os.fork()
    if not pid:
        try:
            with file.open("w") as out, redirect_stdout(out):
                status = pytest.main(words)
            os._exit(status)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file.read_text()
