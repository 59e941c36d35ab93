"""`nasrun analyze variants`: what it writes and refuses."""

import json


def test_variants_are_files_that_other_commands_read(nasrun, here):
    words = ["genotype=darts_v2", "count=4", "widths=[2,3.5c]", "out=v"]
    answer = nasrun("analyze", "variants", *words)
    assert answer.status == 0, answer.err
    files = sorted(path.name for path in (here / "v").glob("darts*.json"))
    assert files == [f"darts_v2-{width}c-{n}.json" for width in ("2", "3.5") for n in (1, 2)]
    before = (here / "v" / "variants.json").read_text()
    rows = json.loads(before)["variants"]
    assert [row["width"] for row in rows] == [2, 2, 3.5, 3.5]
    assert nasrun("analyze", "variants", *words).status == 0
    assert (here / "v" / "variants.json").read_text() == before
    from nasrun.analysis.wiring import Wiring
    from nasrun.config.given import architecture_of

    _, genotype, space = architecture_of("v/darts_v2-2c-1.json", None, [])
    assert Wiring.of(space, genotype, "normal").shape == (2, rows[0]["depth"])
    refusal = nasrun("analyze", "variants", *words, "seed=1").refusal
    assert "out=v: has variants of other settings; name another folder" in refusal


def test_wrong_words_are_refused_in_one_line(nasrun, here):
    for words, told in {
        "": "analyze variants: give genotype=NAME",
        "darts_v2": "darts_v2: give genotype=NAME",
        "genotype=darts_v2 change=both": "change=both: use connections or operations",
        "genotype=darts_v2 widths=[x]": "widths=[x]: x is no number",
        "genotype=darts_v2 widths=[]": "widths=[]: give one or more",
        "genotype=darts_v2 widths=[2,3] count=3": "count=3: cannot be divided equally among 2",
        "genotype=darts_v2 widths=[2] change=operations": "leave the width as it is",
        "genotype=darts_v2 widths=[9]": "widths=[9]: 0 other wirings",
        "genotype=darts_v2 cell=up": "cell=up: space=darts has normal, reduce; use one",
        "genotype=darts_v2 count=0": "count=0: use 1 or more",
    }.items():
        assert told in nasrun("analyze", "variants", *words.split()).refusal, words
    assert list(here.iterdir()) == []
