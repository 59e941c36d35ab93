"""The image files below a folder."""

import pytest

from nasrun.data.listing import image_names


def test_images_of_a_folder_are_named_below_it(tmp_path):
    for name in ("b.png", "a/1.JPG", "a/deep/2.png", ".hidden.png", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert image_names(tmp_path) == ["a/1.JPG", "a/deep/2.png", "b.png"]
    (tmp_path / "loop").symlink_to(".")
    with pytest.raises(ValueError, match=r"loop is a link to the folder"):
        image_names(tmp_path)
