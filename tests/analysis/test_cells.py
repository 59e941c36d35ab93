"""The analysis of a cell, compared with all cells of its space."""

from nasrun.analysis.cells import AllCells, Named, describe, unlike
from nasrun.config.given import architecture_of


def test_a_cell_is_described_by_its_edges_and_by_how_many_are_as_wide_and_as_deep():
    _, genotype, space = architecture_of("darts_v2", None, [])
    normal = describe(AllCells(space), genotype, "normal")
    assert (normal["width"], normal["depth"], normal["wirings"]) == (3.5, 3, 180)
    assert normal["width_share"] == 179 / 180  # one wiring is wider
    assert normal["depth_share"] == 64 / 180
    assert normal["operations"] == {"dil_conv_3x3": 1, "sep_conv_3x3": 5, "skip_connect": 2}
    assert normal["edges_by_source"] == {"0": 4, "1": 3, "2": 1}
    assert normal["parameter_free_share"] == 0.25


def test_a_space_with_too_many_wirings_has_no_shares(monkeypatch):
    monkeypatch.setattr("nasrun.analysis.cells.MOST", 179)
    _, genotype, space = architecture_of("darts_v2", None, [])
    normal = describe(AllCells(space), genotype, "normal")
    assert (normal["width"], normal["wirings"], normal["width_share"]) == (3.5, 180, None)


def test_a_number_that_a_repeated_name_gets_is_never_the_name_of_another():
    _, genotype, space = architecture_of("darts_v2", None, [])
    given = [Named(name, genotype, space, {}) for name in ("a", "a", "a-2", "a")]
    assert [each.name for each in unlike(given)] == ["a", "a-2", "a-2-2", "a-3"]
