"""The machine: copies to its devices."""

from types import SimpleNamespace

import pytest

from nasrun.machine import sent


@pytest.mark.parametrize(("kind", "waits"), [("cuda", False), ("cpu", False), ("mps", True)])
def test_a_copy_waits_for_no_device_but_mps_which_may_read_a_freed_source(kind, waits):
    asked = {}
    source = SimpleNamespace(to=lambda device, **how: asked.update(how))
    sent(source, SimpleNamespace(type=kind), copy=True)
    assert asked == {"non_blocking": not waits, "copy": True}
