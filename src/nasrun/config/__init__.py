"""From overrides to a checked configuration, and from a configuration to objects.

The YAML is the call: `_target_` and a constructor's keywords; the constructor is the schema. Errors
are found in this order: groups, options and keys against the YAML files (without torch), then
keywords and types against the constructors, then values by the constructors themselves.
"""

from omegaconf import DictConfig

from nasrun.config.building import build, build_all
from nasrun.config.checking import check
from nasrun.config.comments import described, frame_keys, leaves_but_lists
from nasrun.config.composing import (
    Composed,
    compose,
    depends,
    frame,
    hydra_options,
    put,
    register,
    resolve,
    trackers_for_all,
    value_at,
)
from nasrun.config.explaining import explained
from nasrun.config.files import refuse_references
from nasrun.config.folders import behaviour, conf_folder, options, search_folders
from nasrun.config.home import at_home
from nasrun.config.keys import GENOTYPES, GROUPS, OPTIMIZERS, Frame
from nasrun.config.named import beneath_names
from nasrun.config.trust import import_trusted
from nasrun.config.words import did_you_mean, key_of, root_of, suggestion

__all__ = [
    "GENOTYPES",
    "GROUPS",
    "OPTIMIZERS",
    "Composed",
    "DictConfig",
    "Frame",
    "at_home",
    "behaviour",
    "beneath_names",
    "build",
    "build_all",
    "check",
    "compose",
    "conf_folder",
    "depends",
    "described",
    "did_you_mean",
    "explained",
    "frame",
    "frame_keys",
    "hydra_options",
    "import_trusted",
    "key_of",
    "leaves_but_lists",
    "options",
    "put",
    "refuse_references",
    "register",
    "resolve",
    "root_of",
    "search_folders",
    "suggestion",
    "trackers_for_all",
    "value_at",
]
