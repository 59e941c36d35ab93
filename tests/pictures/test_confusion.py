"""The picture of answers by class."""

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from nasrun.pictures.confusion import LONGEST, MOST_CLASSES, MOST_NUMBERS, confusion


@pytest.fixture
def axes(tmp_path, monkeypatch):
    """A function that draws and returns the axes of the cells."""
    drawn = []
    saved = Figure.savefig

    def record(self, *arguments, **options):
        drawn.append(self)
        saved(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", record)

    def draw(counts, names):
        confusion(counts, names, tmp_path / "confusion.png")
        assert imread(tmp_path / "confusion.png").shape[2] == 4
        return drawn[-1].axes[0]

    return draw


def test_colours_are_shares_of_a_row_and_numbers_are_images(axes):
    drawn = axes([[3, 1], [0, 0]], ["cat", "dog"])
    assert drawn.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert [(text.get_text(), text.get_position()) for text in drawn.texts] == [
        ("3", (0, 0)),
        ("1", (1, 0)),
    ]
    assert [tick.get_text() for tick in drawn.get_yticklabels()] == ["cat", "dog"]


def test_names_are_drawn_as_they_are_and_cut_if_they_are_long(axes):
    drawn = axes([[1, 0], [0, 1]], ["$a_$ x^", "b" * 200])
    names = [tick.get_text() for tick in drawn.get_yticklabels()]
    assert names == ["$a_$ x^", "b" * (LONGEST - 1) + "…"]


def test_many_classes_have_colours_only_and_too_many_have_no_picture(axes, tmp_path):
    count = MOST_NUMBERS + 1
    drawn = axes([[1] * count] * count, [str(name) for name in range(count)])
    assert not drawn.texts
    (tmp_path / "confusion.png").unlink()
    count = MOST_CLASSES + 1
    confusion(
        [[1] * count] * count, [str(name) for name in range(count)], tmp_path / "confusion.png"
    )
    assert not list(tmp_path.iterdir())
