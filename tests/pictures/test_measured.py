"""What the watchdog sees is drawn for the rounds in which it looked."""

from matplotlib.figure import Figure

from nasrun.pictures import measured
from nasrun.pictures.measured import _watched


def test_a_training_that_diverged_is_not_drawn(monkeypatch, tmp_path):
    drawn = {}

    def band(axes, curves, style, colour, name):
        drawn[name] = curves
        axes.plot([], label=name)

    monkeypatch.setattr(measured, "_band", band)
    whole = [{"loss": 2.0, "accuracy": 0.25}, {"loss": 1.0, "accuracy": 0.5}]
    none = {key: {"mean": None, "std": None} for key in ("area", "accuracy")}
    rows = [
        {"name": "a", "width": 1.0, "curves": [whole, whole[:1], []], "measures": none},
        {"name": "b", "width": 2.0, "curves": [whole[:1]], "measures": none},
    ]
    told = {key: {"spearman": None} for key in ("area", "accuracy")}
    record = {"rows": rows, "epochs": 2, "correlations": {"width": told}}
    measured.convergence(record, {"area": "area", "accuracy": "accuracy"}, tmp_path / "a.png")
    assert drawn == {"a (1c)": [[25.0, 50.0]], "b (2c)": []}


def test_rounds_that_explore_have_no_shares_and_leave_no_point():
    axes = Figure().add_subplot()
    explored, looked = {"round": 1.0}, {"round": 2.0, "skip_share": 0.5, "free_share": 0.25}
    _watched(axes, [explored, looked])
    drawn = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines]
    assert drawn == [([2.0], [50.0]), ([2.0], [25.0])]
