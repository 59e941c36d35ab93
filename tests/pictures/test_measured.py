"""What the watchdog sees is drawn for the rounds in which it looked."""

from matplotlib.figure import Figure

from nasrun.pictures.measured import _watched


def test_rounds_that_explore_have_no_shares_and_leave_no_point():
    axes = Figure().add_subplot()
    explored, looked = {"round": 1.0}, {"round": 2.0, "skip_share": 0.5, "free_share": 0.25}
    _watched(axes, [explored, looked])
    drawn = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines]
    assert drawn == [([2.0], [50.0]), ([2.0], [25.0])]
