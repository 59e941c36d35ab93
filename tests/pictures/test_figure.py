"""Common properties of all pictures: whole ticks, the name of their stage, no global state."""

import subprocess
import sys
from pathlib import Path

from nasrun.pictures.curves import draw_panels, retrain_panels, search_panels
from nasrun.pictures.figure import place_of, save


def test_importing_the_module_leaves_matplotlib_alone():
    code = "import nasrun.pictures.curves, nasrun.pictures.plots, nasrun.pictures.cells, sys\n"
    code += "sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_needs_no_pyplot(tmp_path):
    code = (
        "import pathlib, sys; from nasrun.pictures.curves import search_curves;"
        "search_curves([{'round': 1, 'train_loss': 2.0}], pathlib.Path(sys.argv[1]));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "search.png")]
    assert subprocess.run(command, check=False).returncode == 0


def test_ticks_say_their_whole_number():
    """Neither an offset (+2.9111e1) nor a power of ten (1e-4) stands beside an axis."""
    entropies = [{"round": step, "entropy": 29.1110 + step / 10**5} for step in range(5)]
    rates = [{"round": step, "lr": 1e-6 * step} for step in range(5)]
    for panels, records in ((search_panels(("",)), entropies), (retrain_panels(), rates)):
        figure = draw_panels(panels, records)
        figure.canvas.draw()
        for axes in figure.axes:
            assert axes.yaxis.get_offset_text().get_text() == ""


def test_a_plot_names_the_run_and_the_stage_that_it_is_of(tmp_path, monkeypatch):
    run = tmp_path / "digits-darts-darts" / "v001"
    path = run / "select" / "perturb" / "scores.png"
    assert place_of(path) == ""
    path.parent.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    figure = draw_panels(search_panels(()), [{"round": 1, "train_loss": 2.0}])
    save(figure, path)
    assert figure.get_supxlabel() == "digits-darts-darts/v001/select/perturb"
    monkeypatch.chdir(run)
    assert place_of(Path("search/search.png")) == "digits-darts-darts/v001/search"
