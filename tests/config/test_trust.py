"""Packages outside nasrun, which a command trusts."""

import pytest

from nasrun.config.trust import import_trusted, trusts


def test_a_target_is_trusted_by_its_whole_package():
    assert trusts([], "nasrun.spaces.darts.Darts")
    assert trusts([], "torch.optim.SGD")
    assert not trusts([], "torch.load")
    assert trusts(["mine"], "mine.spaces.Mine")
    assert not trusts(["mine"], "mines.spaces.Mine")


def test_all_trusted_packages_are_imported_from_the_current_folder(here):
    for name in ("trusted_first", "trusted_second"):
        (here / f"{name}.py").write_text("from pathlib import Path\nPath(__name__).touch()\n")
    import_trusted(["trusted_first", "trusted_second"])
    assert (here / "trusted_second").exists()
    with pytest.raises(ValueError, match=r"trust=\[nowhere_at_all\]: no such package"):
        import_trusted(["nowhere_at_all"])
    for part in ("trusted_first.missing", "trusted_first.missing.deeper"):
        with pytest.raises(ValueError, match=rf"trust=\[{part}\]: no such package"):
            import_trusted([part])
    (here / "trusted_third.py").write_text("import nowhere_at_all")
    with pytest.raises(ModuleNotFoundError):
        import_trusted(["trusted_third"])
