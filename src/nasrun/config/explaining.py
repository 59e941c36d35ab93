"""Explains Hydra's errors: which word to change, and to what."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from nasrun.config.folders import behaviour, conf_folder, options, search_folders
from nasrun.config.keys import FORMER, GROUPS, TRACKER, Frame
from nasrun.config.kinds import Several
from nasrun.config.reading import signature
from nasrun.config.words import did_you_mean, fault_of_path, key_of, parsed, suggestion

OPTIONAL = ("selector", "retrain", "transfer")
"""Groups whose stage `nasrun run` can leave out."""


@contextmanager
def explained(overrides: Sequence[str]) -> Iterator[None]:
    """Turn errors of Hydra and its parsers about these overrides into a ValueError of one line."""
    from hydra.errors import HydraException

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "provider=.* is not available", UserWarning)
            yield
    except yaml.YAMLError as error:
        raise ValueError(_unread(error)) from error
    except UnicodeDecodeError as error:
        raise ValueError(_undecoded(overrides)) from error
    except UserWarning as error:
        path = str(error).partition("path=")[2].removesuffix(" is not available.")
        raise ValueError(
            f"hydra.searchpath: {path} is not there; name a folder or a package that is"
        ) from error
    except RecursionError as error:
        named = " ".join(overrides)
        raise ValueError(f"{named}: nested too deeply, in a file or a word; nest less") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ValueError(_explain(overrides, error)) from error


def _unread(error: yaml.YAMLError) -> str:
    """Return an error about an unreadable YAML file, with the place in it."""
    if isinstance(error, yaml.reader.ReaderError):
        where = f"{error.name}, character {error.position + 1}"
        return f"{where}: {error.reason}; take this one out"
    where, problem = "a YAML file", str(error)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = where if mark is None else f"{mark.name}, line {mark.line + 1}"
        problem = error.problem or error.context or "no YAML"
    return f"{where}: {problem}; write KEY: VALUE in every line, indented by spaces"


def _undecoded(overrides: Sequence[str]) -> str:
    """Return an error that names the YAML file that is not text."""
    for folder in search_folders(overrides):
        for path in sorted(folder.rglob("*.yaml")):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                return f"{path}, byte {error.start}: not in UTF-8; save the file as UTF-8"
            except OSError:
                continue
    return f"{' '.join(overrides)}: a file is not in UTF-8; save it as UTF-8"


def _explain(overrides: Sequence[str], error: Exception) -> str:
    """Return one line about an override that Hydra refused."""
    folders = search_folders(overrides)
    for override in overrides:
        if fault := _fault(override, overrides, folders):
            return fault
    if in_file := _in_file(str(error), folders):
        return in_file
    key = getattr(getattr(error, "__cause__", None), "full_key", None) or ""
    text = first_line(error.__cause__ or error)
    for override in overrides:
        if key_of(override) == key and key in vars(Frame()).keys() - {*GROUPS}:
            return f"{override}: expected {_expected(key, override)}"
        group, at, outer = key_of(override).partition("@")
        if at and f"'{group}@{outer}'" in text:
            value = override.partition("=")[2]
            return f"{group}={value}: has no effect, this {outer} has no {group}; leave it out"
    if "is not in struct" in text:
        text = "unknown key; put + in front of the override to add it"
    return f"{key}: {text}" if key and key not in text else text


def _fault(override: str, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Return one line for an override that is wrong by itself; empty for one that may be right."""
    key, _, value = override.partition("=")
    bare = key_of(override)
    group = bare.split("@")[0]
    try:
        read = parsed(override).value()
    except ValueError as fault:
        return str(fault)
    if bare == "hydra.searchpath" and not isinstance(read, list):
        return f"{override}: expected a list; type {bare}=[file://FOLDER]"
    if group in GROUPS and value == "" and not key.startswith("~"):
        return f"{override}: is empty; name an option or leave it out"
    if group in GROUPS and group != "experiment" and value == "null":
        instead = "use none" if group == TRACKER else f"choose one of `nasrun list {group}`"
        if group in OPTIONAL:
            instead += ", or leave its stage out with `nasrun run stages=[search,...]`"
        return f"{group}=null: needed; {instead}"
    if group == TRACKER or (group in GROUPS and not value.startswith(("{", "["))):
        chosen = value.strip("[]").replace(" ", "").split(",")
        return _wrong_option(group, filter(None, chosen), options(group, folders))
    if re.split("[./]", bare)[0] == "hydra" or key.startswith(("+", "~")):
        return ""
    if (idle := _without_tracker(bare, overrides, folders)) is not None:
        return f"{override}: has no effect without {TRACKER}={idle}; choose that, too"
    unknown = _unknown_key(bare, overrides)
    return "" if unknown is None else f"{override}: unknown key{unknown}"


def _without_tracker(key: str, overrides: Sequence[str], folders: Sequence[Path]) -> str | None:
    """Return the tracker that a key belongs to if it is not chosen, else `None`."""
    group, _, rest = key.partition(".")
    name = rest.split(".")[0]
    typed = [o.partition("=")[2].strip("[]").split(",") for o in overrides if key_of(o) == TRACKER]
    known = group == TRACKER and name in options(TRACKER, folders)
    return name if known and not any(name in chosen for chosen in typed) else None


def _wrong_option(group: str, chosen: Iterable[str], known: Mapping[str, str]) -> str:
    for option in chosen:
        if (former := f"{group}={option}") in FORMER:
            return f"{former}: is two choices now; type {FORMER[former]}"
        if fault := fault_of_path(group, option):
            return fault
        if option not in known and option != "null":
            return _unknown_option(group, option, known)
    return ""


def _unknown_option(group: str, option: str, known: Iterable[str]) -> str:
    return f"{group}={option}: unknown option{suggestion(option, known)}"


def _in_file(text: str, folders: Sequence[Path]) -> str:
    """Return an error about the content of a YAML file, or an empty text."""
    if of_defaults := _of_defaults(text):
        return of_defaults
    if found := re.search(r"Could not find '(hydra/\w+)/([^']+)'", text):
        return _unknown_option(found[1], found[2], re.findall(r"^\t(\S+)$", text, re.MULTILINE))
    if found := re.search(r"Could not find '(\w+)(?:@[\w.]+)?/([^']+)'", text):
        return _unknown_option(found[1], found[2], options(found[1], folders))
    if found := re.search(r"In '(.+)': \w+ raised while composing config:\n(.+)", text):
        key = re.match(r"Key '(.+?)' not in 'Frame'", found[2].strip())
        if key is None:
            return f"{found[1]}.yaml: {found[2].strip()}; write keys with their values"
        return f"{found[1]}.yaml: unknown key {key[1]}{did_you_mean(key[1], vars(Frame()))}"
    return ""


def _of_defaults(text: str) -> str:
    """Return the fault in the `defaults` of a file, which have their own grammar."""
    form = "choose an option by `- override /GROUP: OPTION`"
    if found := re.search(r"Multiple values for ([\w/]+)\..*'override \S+: (\S+)'", text):
        return f"defaults: - /{found[1]}: {found[2]}: is chosen already; write `override` before it"
    if found := re.search(r"Could not find '(?!hydra/)\w+/(\w+)(?:@[\w.]+)?/([^']+)'", text):
        return f"defaults: - {found[1]}: {found[2]}: is no option of this file; {form}"
    unfound = r"In '(.+)': (?:Could not override '\w+/|Invalid Defaults List override ')(\w+)[@:]"
    if found := re.search(unfound, text):
        return f"{found[1]}.yaml: defaults: - override {found[2]}: is not found; {form}"
    if found := re.search(r"Invalid defaults list in '(.+)', defaults must be a list", text):
        return f"{found[1]}.yaml: defaults: is no list; {form}"
    return ""


def _expected(key: str, override: str) -> str:
    """Return the values that a key of the frame accepts, and how to give one."""
    frame = signature(f"{Frame.__module__}.{Frame.__qualname__}")
    assert frame is not None
    kind = frame.parameters[key].kind
    if isinstance(kind, Several):
        return f"a list; type {key}=[{override.partition('=')[2]}]"
    return f"{kind.words}; give one"


def _unknown_key(key: str, overrides: Sequence[str]) -> str | None:
    """Return a hint for a key that the YAML files do not have, `None` if they have it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    choices = [o for o in overrides if key_of(o).split("@")[0] in (*GROUPS, "hydra.searchpath")]
    choices += [o for o in overrides if o.startswith("~") or (o[0] == "+" and "={" in o)]
    try:
        with initialize_config_dir(str(conf_folder()), **behaviour()):
            node: Any = hydra_compose("config", choices)
    except (HydraException, OmegaConfBaseException, ValueError):  # the last for space=null
        return None
    known = sorted(set(_keys(node)))
    if key in known:
        return None
    parent, _, name = key.rpartition(".")
    own = [k.removeprefix(f"{parent}.") for k in known if parent and k.startswith(f"{parent}.")]
    own = [k for k in own if "." not in k]
    if parent in known and not own and OmegaConf.select(node, parent) is None:
        whole = f"'{parent}={{_target_: ..., {name}: ...}}'"
        return f"; {parent} is null and has no keys: give all of it, {whole}, if it takes an object"
    siblings = own or [k for k in known if "." not in k]
    near = get_close_matches(name, siblings, 1)
    if near:
        return f", did you mean {f'{parent}.' if own else ''}{near[0]}?"
    if hint := did_you_mean(key, known):
        return hint
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    if elsewhere:
        return f", did you mean {elsewhere[0]}?"
    return f"; {parent or 'the top level'} has {', '.join(siblings)}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for name in map(str, node):
            yield f"{prefix}{name}"
            yield from _keys(node._get_node(name), f"{prefix}{name}.")


def explain_value(error: OmegaConfBaseException, key: str, value: Any) -> str:
    """Return one line about a value that refers to something missing."""
    text, shown = str(error), f"{key}={value}"
    if "Missing mandatory value" in text or isinstance(error, MissingMandatoryValue):
        return f"{key}: has no default; give it on the command line"
    if found := re.search(r"Environment variable '(.+)' not found", text):
        return f"{shown}: there is no environment variable {found[1]}; set it"
    if found := re.search(r"Interpolation key '(.+)' not found", text):
        return f"{shown}: there is no key {found[1]}; refer to one that is there"
    return f"{shown}: {first_line(error)}"


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else error.__class__.__name__
