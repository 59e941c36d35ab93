"""The layouts that can be built."""

import pytest

from nasrun.spaces.layout import Layout


@pytest.mark.parametrize(
    ("key", "value"), [("channels", 0), ("channels", 7), ("layers", 2), ("layers", -1)]
)
def test_a_layout_that_cannot_be_built_is_refused_by_key_and_value(key, value):
    with pytest.raises(ValueError, match=f"{key}={value}"):
        Layout(**{"channels": 16, "layers": 8, key: value})
