"""The pictures of published cells."""

import xml.etree.ElementTree as ElementTree

import pytest
from cells import CHAIN, DARTS_V2, FLOW, all_edges
from matplotlib.image import imread

from nasrun.pictures.cells import draw_cells


@pytest.mark.parametrize(
    "cells",
    [DARTS_V2, {"normal": all_edges(4)}, {"normal": []}, {"layers": CHAIN}, {"cell": FLOW}],
    ids=["DARTS_V2", "all edges", "no edges", "a chain", "flow"],
)
def test_both_files_are_written_and_the_svg_holds_every_label_as_text(tmp_path, cells):
    svg, png = draw_cells(cells, tmp_path / "cells.of.v1", "A title")
    assert sorted(tmp_path.iterdir()) == [png, svg]
    assert (svg.name, png.name) == ("cells.of.v1.svg", "cells.of.v1.png")
    height, width, _ = imread(png).shape
    assert 200 < height < 2000
    assert 200 < width < 4000
    texts = [text.text for text in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
    wanted = [operation for edges in cells.values() for _, _, operation in edges]
    for word in {*wanted, *cells, "A title"}:
        assert texts.count(word) >= max(1, wanted.count(word))


def test_the_same_cells_give_the_same_svg(tmp_path):
    first, _ = draw_cells(DARTS_V2, tmp_path / "first")
    second, _ = draw_cells(DARTS_V2, tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()


def test_the_settings_of_matplotlib_stay_as_they_are(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_cells(DARTS_V2, tmp_path / "cells")
    assert dict(matplotlib.rcParams) == before
