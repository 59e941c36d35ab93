"""The picture of networks that grew from each other."""

from nasrun.pictures import ancestry as pictures
from nasrun.pictures.ancestry import ancestry, places_of, shortened

TREE = [
    {"grew_from": None, "morphs": [], "score": 0.5, "seconds": [1.0, 2.0]},
    {"grew_from": 0, "morphs": ["deep 1 conv3", "wide 1 2"], "score": None, "seconds": [1.0]},
    {"grew_from": 0, "morphs": ["wide 1 2"], "score": 0.4, "seconds": [2.0]},
    {"grew_from": 2, "morphs": ["add 1 3"], "score": 0.7, "seconds": [2.5]},
]


def test_a_network_stands_where_its_morphs_put_it_and_its_line_comes_from_its_ancestor(
    tmp_path, monkeypatch
):
    assert places_of(TREE) == [0, 2, 1, 2]
    drawn = {}
    monkeypatch.setattr(pictures, "save", lambda figure, path, **_: drawn.update({path: figure}))
    ancestry(TREE, tmp_path / "tree.png", "validation_accuracy")
    tree, scores, times = drawn[tmp_path / "tree.png"].axes
    lines = [line.get_xydata().tolist() for line in tree.lines if len(line.get_xdata()) == 3]
    assert lines == [
        [[0, 0], [0, 1], [2, 1]],
        [[0, 0], [0, 2], [1, 2]],
        [[1, 2], [1, 3], [2, 3]],
    ]
    assert [text.get_text() for text in tree.texts] == [
        *("", "deep 1 conv3, wide 1 2", "wide 1 2", "add 1 3"),
    ]
    points, best = scores.lines
    assert points.get_xydata().tolist() == [[0.5, 0], [0.4, 2], [0.7, 3]]  # one has no score
    assert list(best.get_xdata()) == [0.5, 0.5, 0.7]
    assert [bar.get_width() for bar in times.patches] == [3.0, 1.0, 2.0, 2.5]
    assert shortened("add 1 3, " * 20).endswith("...")


def test_the_picture_is_written(tmp_path):
    ancestry(TREE, tmp_path / "tree.png", "validation_accuracy")
    assert (tmp_path / "tree.png").stat().st_size > 1000
