"""The parts that a command builds before it begins: named genotypes, and engines."""

import json

import pytest
import yaml


def test_a_genotype_is_a_published_cell_or_a_file(nasrun, here, finished, short):
    words = [*short, "images=64", "retrain.epochs=1"]
    assert nasrun("retrain", "genotype=darts_v2", *words).status == 0
    result = json.loads(
        (here / "outputs/digits-darts-darts_v2/v001/retrain/darts_v2/result.json").read_text()
    )
    assert "sep_conv_3x3@0 sep_conv_3x3@1" in result["genotype"]
    file = here / "mine.json"
    file.write_text((finished / "select/magnitude/genotype.json").read_text())
    smaller = ["space.nodes=1", "space.kept_edges=1"]
    assert nasrun("retrain", "genotype=mine.json", *smaller, *words).status == 0
    assert (here / "outputs/digits-darts-mine/v001/retrain/mine/result.json").is_file()
    refusal = nasrun("retrain", "genotype=mine.json", *words).refusal
    assert "genotype=mine.json" in refusal
    assert "normal/3-0" in refusal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "genotype=bad.json"),
        ("[]", "the normal cell is missing; give both"),
        ('{"schema": 99, "choices": {}}', "genotype schema=99"),
        ('{"schema": 1, "space": "darts", "choices": {"normal/2-0": 3}}', "name of an operation"),
        ('{"schema": 1, "space": "other", "choices": {"layer0": "x"}}', "space=other"),
        ("OPERATION", "normal/2-0=sep_conv_9x9; this space allows"),
        ("\udcff\udcfe", "genotype=bad.json"),
    ],
)
def test_a_damaged_genotype_is_one_line_and_leaves_nothing(nasrun, here, text, expected):
    if text == "OPERATION":
        edges = [f"{cell}/2-{source}" for cell in ("normal", "reduce") for source in (0, 1)]
        choices = dict.fromkeys(edges, "none") | {"normal/2-0": "sep_conv_9x9"}
        text = json.dumps({"schema": 1, "space": "darts", "choices": choices})
    (here / "bad.json").write_bytes(text.encode(errors="surrogateescape"))
    refusal = nasrun("retrain", "genotype=bad.json", "space.nodes=1", "space.kept_edges=1").refusal
    assert refusal.startswith("nasrun: genotype=bad.json")
    assert expected in refusal
    assert [path.name for path in here.iterdir()] == ["bad.json"]


def test_an_engine_is_named_where_a_selection_trains_networks(nasrun, small):
    short = ["strategy=random", "strategy.num_candidates=2", "strategy.evaluator.epochs=1"]
    words = [word for word in small if not word.startswith("rounds=")]
    assert nasrun("search", *words, *short, "engine=serial").status == 0
    halving = ["method=halving", "selector.contestants=2", "selector.evaluator.epochs=1"]
    answer = nasrun("select", *halving, "engine=serial")
    assert answer.status == 0, answer.err


def test_another_layout_is_another_limited_run_and_the_same_run_without_limits(nasrun, here, small):
    words = [*small, "discretisation=false", "stages=[search,select]"]
    first = ["retrain.channels=8", "retrain.layers=3"]
    other = ["retrain.channels=10", "retrain.layers=3"]
    for layout in (first, other, first):
        assert nasrun("run", *words, *layout, "budget.max_params_m=0.05").status == 0
    family = here / "outputs/digits-darts-darts"
    assert sorted(path.name for path in family.glob("v*")) == ["v001", "v002"]
    for version, channels in (("v001", 8), ("v002", 10)):
        counted = yaml.safe_load((family / version / "config.yaml").read_text())["layout"]
        assert counted == {"channels": channels, "layers": 3, "stem": "cifar"}
    assert nasrun("run", *words).status == 0
    assert sorted(path.name for path in family.glob("v*")) == ["v001", "v002", "v003"]
    assert "layout" not in (family / "v003/config.yaml").read_text()
    assert [path.name for path in (family / "v003/select").iterdir()] == ["magnitude"]


def test_a_selection_within_limits_is_one_of_its_layout(nasrun, finished):
    words = ["selector=argmax", "discretisation=false", "budget.threads=1", "budget.device=cpu"]
    words += ["budget.max_params_m=0.05", "retrain.layers=3"]
    for channels in (8, 10, 8):
        assert nasrun("select", *words, f"retrain.channels={channels}").status == 0
    assert {path.name for path in (finished / "select").glob("argmax*")} == {"argmax", "argmax-2"}
    assert "channels: 10" in (finished / "select/argmax-2/config.yaml").read_text()
    # what is trained without limits may have any layout: it is told
    words = ["budget.threads=1", "budget.device=cpu", "retrain.epochs=1", "retrain.layers=3"]
    words += ["retrain.auxiliary=false", f"run={finished}/select/argmax"]
    for channels, told in ((2, True), (8, False)):
        answer = nasrun("retrain", *words, f"retrain.channels={channels}")
        assert answer.status == 0, answer.err
        line = "with retrain.channels=8, but this command trains one with retrain.channels=2"
        assert (line in answer.err) == told


def test_networks_that_cannot_be_are_refused_before_anything_is_made(nasrun, here, monkeypatch):
    """None is given memory, and no list is as long as what is typed."""
    monkeypatch.setattr("nasrun.costs.weights.installed_bytes", lambda: 2**34)
    for line, told in {
        "width=100000000": "space.channels=100000000: too many; use at most 65536",
        "depth=100000000": "space.layers=100000000: too many; use at most 1000",
        "width=20000": "space.channels=20000 space.layers=4: the weights alone take",
        "strategy=random width=30000": "space.channels=30000 space.layers=4: the weights alone",
        "space=mobile depth=100000000": "space.layers=100000000: too many; use at most 1000",
        "space.nodes=100000": "space.nodes=100000: too many; use at most 30",
        "space=gan task=gan strategy=pbtnas width=100000000": "space=gan: the weights alone take",
        "space=gan task=gan strategy=pbtnas space.blocks=999999": "space.blocks=999999: too many",
        "stages=[search,select,retrain] retrain.channels=60000": "retrain.channels=60000 retrain.l",
        "stages=[search,select,retrain] retrain.channels=65538": "retrain.channels=65538: too many",
        "transfer.layers=99999": "transfer.layers=99999: too many; use at most 1000",
    }.items():
        verb = "run" if "retrain" in line or "transfer" in line else "search"
        refusal = nasrun(verb, *line.split()).refusal
        assert told in refusal, line
    assert list(here.iterdir()) == []
