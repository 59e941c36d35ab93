"""Rules for every claim: its commands are ours, its protocol is frozen, its values have sources."""

import pytest

from nasrun.claims import reading
from nasrun.claims.claim import protocol
from nasrun.cli.line import Line
from nasrun.cli.verbs import VERBS
from nasrun.cli.words import apart
from nasrun.config import compose, frame
from nasrun.config.stages import ALWAYS, read_by
from nasrun.files import read_yaml

DATA = {"space.table": "FILE.csv", "dataset.root": "FOLDER"}


@pytest.fixture(scope="module")
def claims():
    return {name: reading.read(reading.file_of(name)) for name in reading.names()}


def test_a_protocol_is_the_one_that_was_frozen(claims):
    assert len(claims) >= 15
    for name in claims:
        content = read_yaml(reading.file_of(name))
        assert content["frozen"] == protocol(content), name


def test_a_claim_names_its_paper_its_cost_and_its_command(claims):
    for name, claim in claims.items():
        text = reading.file_of(name).read_text()
        assert f"\n#   nasrun reproduce {name}" in text, name
        assert all(f" {key}=" in text.partition("_target_")[0] for key in claim.needs), name
        assert claim.paper
        assert claim.minutes.keys() == claim.arms.keys(), name


def test_the_commands_of_every_arm_compose(claims):
    """Each once: arms and claims share commands."""
    known = set()
    for name, claim in claims.items():
        for arm in claim.arms:
            (first, *begun), *later = claim.commands(arm)
            data = [f"{key}={DATA[key]}" for key in claim.needs]
            for verb, words in ((first, [*begun, *data, "seed=1"]), *((v, w) for v, *w in later)):
                if (key := (verb, tuple(sorted(words)))) in known:
                    continue
                known.add(key)
                if verb == "analyze":
                    part, words = VERBS[verb].meant(words)
                    reads, (_, words) = part.reads, apart(words, part.keys)
                else:
                    reads = (*ALWAYS, *read_by(verb))
                line = Line.parse(verb, words)
                line.refuse_idle(reads)
                assert frame(compose(line.overrides).config).run is None, (name, arm)
