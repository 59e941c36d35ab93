"""Wide and shallow cells against narrow and deep ones: the commands and the tables."""

import json
from pathlib import Path

import pytest

from nasrun import config


@pytest.fixture
def cells(script):
    return script("cell_claims")


def test_the_commands_lead_from_variants_to_landscapes(cells, tmp_path):
    variants, trained, around = cells.commands(tmp_path, 3, ["dataset.root=x"], ["engine=serial"])
    assert {"count=12", "widths=[2,2.5,3,3.5]"} < set(variants)
    files = trained[2].removeprefix("genotype=").split(",")
    assert len(files) == 12
    assert files[-1].endswith("variants/darts_v2-3.5c-3.json")
    words = [word for word in trained[4:] if not word.startswith("out=")]
    recipe = config.resolve(config.compose(words).config["retrain"])
    assert (recipe["channels"], recipe["layers"], recipe["epochs"]) == (16, 8, 8)
    assert "2c-1-seed0.safetensors," in around[2]
    assert around[2].endswith("3.5c-1-seed0.safetensors")


def test_the_tables_put_findings_beside_the_papers(cells, tmp_path, capsys):
    def row(width, depth, area, accuracy):
        means = {"area": area, "epochs_to_threshold": 2.0, "accuracy": accuracy, "loss": area}
        measures = {name: {"n": 3, "mean": mean, "std": 0.01} for name, mean in means.items()}
        facts = {"name": f"w{width}", "width": width, "depth": depth, "params": 9}
        return {**facts, "measures": measures}

    found = [row(2 + n / 2, 6 - n, 2 - n / 10, 0.5 + (n % 2) / 10) for n in range(5)]
    (tmp_path / "convergence").mkdir()
    record = {"threshold": 0.4, "rows": found}
    (tmp_path / "convergence" / "convergence.json").write_text(json.dumps(record))
    cells.tell(tmp_path)
    told = capsys.readouterr().out
    assert "| w2.0 | 2c | 6 | 9 | 2.000 ± 0.010 | 2.000 ± 0.010 | 50.00 ± 1.00 | " in told
    assert "a smaller area under the test loss | -1.00 | < 0.001 | confirmed |" in told
    assert "a smaller area | +1.00 | < 0.001 | confirmed |" in told
    assert "no correlation | +0.00 | 1.000 | no correlation seen |" in told
    assert "curvature" not in told
    plane = {"name": "narrow", "middle": {"loss": 1.0, "variance": 2.0}, "below_twice": 0.5}
    plane |= {"curvature": 3.0, "most_curvature": 4.0}
    (tmp_path / "landscape").mkdir()
    (tmp_path / "landscape" / "landscape.json").write_text(json.dumps({"planes": [plane]}))
    cells.tell(tmp_path)
    assert "| narrow | 1.000 | 2 | 50.0 | 3 | 4 |" in capsys.readouterr().out


def test_the_tables_of_the_page_are_those_of_the_kept_results(cells, capsys):
    docs = Path(__file__).parents[2] / "docs"
    cells.tell(docs / "cells")
    assert capsys.readouterr().out in (docs / "results.md").read_text()
