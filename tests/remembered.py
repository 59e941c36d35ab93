"""What Hydra read, listed, merged and composed in this process, for whoever asks again.

To compose takes as long as a small search. A test may change other files than Hydra's own and the
project's: with a folder of its own, Hydra does all itself.
"""

import pickle
import re
import sys
from io import BytesIO
from operator import attrgetter

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException

from nasrun.config import GROUPS, composing
from nasrun.config.folders import conf_folder

FIXED = {"hydra.conf", str(conf_folder()), ""}
"""Paths of files that no test changes; the last is that of the types of keys."""


def remember():
    """Let Hydra do each of its steps once per process."""
    Plugins.instance()  # registers what reads files
    for scheme in ("file", "pkg"):
        source = SourcesRegistry.instance().types[scheme]
        source.load_config = read_once(source.load_config)
    loader = ConfigLoaderImpl
    loader._compose_config_from_defaults_list = merge_once(
        loader._compose_config_from_defaults_list
    )
    defaults_list._create_defaults_list = list_once(defaults_list._create_defaults_list)
    composing._composed = compose_once(composing._composed)


class Reader(pickle.Unpickler):
    """A reader of our own pickles that is no `pickle.find_class` to an audit hook."""

    def find_class(self, module, name):
        return attrgetter(name)(sys.modules[module])


def copied(content):
    """Return a new copy of what was pickled in this process."""
    return Reader(BytesIO(content)).load()


def read_once(load):
    """Let Hydra read each of its own files and of the project's once per process."""
    kept = {}

    def loaded(source, config_path):
        if source.path not in FIXED:
            return load(source, config_path)  # a test may change it
        key = source.path, source.provider, config_path
        if key not in kept:
            kept[key] = pickle.dumps(load(source, config_path))
        return copied(kept[key])

    return loaded


def sources(repo):
    """The paths that a composition reads from, `None` if a test may change what lies there."""
    paths = tuple(source.path for source in repo.get_sources())
    return paths if FIXED.issuperset(paths) else None


def list_once(listed):
    """Let Hydra list the files of the same options once per process, and mark which it used."""
    kept = {}

    def found(repo, config_name, overrides, prepend_hydra, skip_missing):
        given = repo, config_name, overrides, prepend_hydra, skip_missing
        if (paths := sources(repo)) is None:
            return listed(*given)
        own, values = vars(overrides), overrides.config_overrides
        key = repr((paths, config_name, prepend_hydra, skip_missing, own | {"config_overrides": 0}))
        if key not in kept:
            both = listed(*given)
            kept[key] = pickle.dumps((both, own | {"config_overrides": []}))
        both, used = copied(kept[key])
        own.update(used, config_overrides=values)
        return both

    return found


def merge_once(merged):
    """Let Hydra merge the same files once per process."""
    kept = {}

    def found(loader, defaults, repo):
        if (paths := sources(repo)) is None:
            return merged(loader, defaults, repo)
        if (key := repr((paths, defaults))) not in kept:
            kept[key] = pickle.dumps(merged(loader, defaults, repo))
        return copied(kept[key])

    return found


def compose_once(compose):
    """Let Hydra compose the same options once per process: it takes as long as a small search.

    Values of keys are then set in a copy, as Hydra sets them. Where it refuses one, and where a
    test may have written the files that are read, Hydra composes the words itself.
    """
    kept = {}
    value = re.compile(rf"(?!({'|'.join(GROUPS)})=)[a-z_]+(\.\w+)*=")

    def composed(overrides):
        words = list(overrides)
        if any(word.lstrip("+~").startswith(("hydra", "experiment")) for word in words):
            return compose(words)
        options = tuple(word for word in words if not value.match(word))
        try:
            if options not in kept:
                kept[options] = pickle.dumps(compose(options))
            config = copied(kept[options])
            typed = OverridesParser.create().parse_overrides(words)
            if any(one.is_sweep_override() for one in typed):
                return compose(words)
            values = [one for one in typed if value.match(one.input_line)]
            ConfigLoaderImpl._apply_overrides_to_config(values, config)
        except (ValueError, RecursionError, HydraException):
            return compose(words)
        return config

    return composed
