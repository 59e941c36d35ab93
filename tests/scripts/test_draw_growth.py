"""scripts/draw_growth.py: the best network after so many seconds, and its picture."""

import json


def test_the_best_score_of_the_intervals_that_have_ended_is_noted(script, tmp_path, monkeypatch):
    growth = script("draw_growth")
    trials = [
        {"scores": [0.2, 0.5], "seconds": [6.0, 6.0]},
        {"scores": [0.4, 0.6], "seconds": [10.0, 30.0]},
    ]
    best = growth.best_after(trials)
    assert best[:6] == [0.2, 0.5, 0.5, 0.5, 0.5, 0.6]  # after 10, 20, 30, 40, 50 and 60 seconds
    run = tmp_path / "v001"
    (run / "search").mkdir(parents=True)
    (run / "search" / "tree.json").write_text(json.dumps(trials))
    (run / "run.json").write_text(json.dumps({"choices": {"strategy": "autokeras"}, "seed": 3}))
    data, picture = tmp_path / "growth.json", tmp_path / "growth.svg"
    words = ["draw_growth.py", str(tmp_path), f"--data={data}", f"--picture={picture}"]
    monkeypatch.setattr("sys.argv", words)
    growth.main()
    assert json.loads(data.read_text())["best"] == {"autokeras": {"3": best}}
    assert picture.read_text().startswith("<?xml")
