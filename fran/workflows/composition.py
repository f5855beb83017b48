"""Composition with the meaning that plans have; the one module that reaches into Hydra's inside.

Hydra merges mappings. For a plan that would be wrong: a child's ``remapping_source: {1: 0}`` has to replace its
parent's ``{2: 1}``, not to become ``{1: 0, 2: 1}``. Hydra has no switch for it and no hook between two files of a
defaults list, so its loader gets two more steps, for fran's configurations alone: plan files are checked for their form
before anything is composed, and a plan's mapping is dropped where something stronger states the key too.
Hydra is pinned below 1.4, and the tests of this module fail when its inside changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydra_runtime
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from fran.errors import SettingProblem, choices, raise_for_settings
from fran.plans.schema import Plan
from fran.workflows.locations import conf_dir, user_conf_dirs
from fran.workflows.plan_files import GROUP, find_plan, lint

REPLACED = tuple(f.name for f in fields(Plan) if f.type in (Any, "Any"))
"""Plan keys that may be mappings."""

OTHER_KEYS = ("model", "trainer", "augmentation", "tracking", "preprocess", "fold")
"""What a plan file may state besides a plan's keys, for the verbs that have it."""


class PlanLoader(ConfigLoaderImpl):
    """Hydra's loader, with plan files checked and mappings of plans replaced."""

    _overridden: Collection[str] = ()
    _loaded: Iterator[Any] = iter(())

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        """As Hydra's.

        Raises:
            ConfigError: a plan file, or one that it inherits from, has not the form of one.
        """
        self._overridden = ()
        if _is_frans(self.config_search_path):
            parsed = OverridesParser.create().parse_overrides(overrides)
            folders = _file_folders(self.config_search_path)
            raise_for_settings([*_partial_mappings(parsed), *_no_options(parsed, folders)])
            for plan in _chosen_plans(config_name, parsed, folders):
                raise_for_settings(lint(plan, folders, OTHER_KEYS))
            self._overridden = {override.key_or_group for override in parsed}
        return super().load_configuration(config_name, overrides, *args, **kwargs)

    def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> DictConfig:
        with warnings.catch_warnings():
            # conf/hydra/launcher/ray.yaml is meant to be checked against what its plugin registers under that name
            warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated against")
            loaded = [super(PlanLoader, self)._load_single_config(default=default, repo=repo) for default in defaults]
        if _is_frans(self.config_search_path):
            keep_strongest([result.config for result in loaded], self._overridden)
        self._loaded = iter(loaded)
        config = super()._compose_config_from_defaults_list(defaults, repo)
        for key in self._overridden:
            # Hydra lets no override name a new entry, which in a mapping by label or case is all there is
            if key.startswith("trainer.") and isinstance(node := OmegaConf.select(config, key), DictConfig):
                OmegaConf.set_struct(node, OmegaConf.get_type(node) is not dict)
        return config

    def _load_single_config(self, default: Any, repo: Any) -> Any:
        return next(self._loaded)


def install() -> None:
    """Let Hydra load with `PlanLoader`; calling it again changes nothing."""
    hydra_runtime.ConfigLoaderImpl = PlanLoader  # type: ignore[attr-defined]


def keep_strongest(configs: Sequence[Any], overridden: Collection[str] = ()) -> None:
    """Take a plan's mappings and lists out of every config but the last that states the key.

    Args:
        configs: the weakest first; changed in place.
        overridden: keys that something stronger than all of them states.
    """
    for key in REPLACED:
        stating = [config for config in configs if isinstance(config, DictConfig) and key in config]
        for config in stating if key in overridden else stating[:-1]:
            if not OmegaConf.is_interpolation(config, key) and OmegaConf.is_config(config[key]):
                with open_dict(config):
                    config.pop(key)


def _partial_mappings(overrides: Sequence[Override]) -> list[SettingProblem]:
    """Overrides of one entry of a mapping that is replaced whole."""
    problems = []
    for override in overrides:
        top, _, rest = override.key_or_group.partition(".")
        if rest and top in REPLACED:
            expected = f"the whole mapping, as in '{top}={{1: 0, 2: 1}}'"
            place = f"command line: {override.input_line}"
            problems.append(SettingProblem(override.key_or_group, override.get_value_string(), expected, place))
    return problems


def _no_options(overrides: Sequence[Override], folders: Sequence[Path]) -> list[SettingProblem]:
    """Overrides of a group by something that names none of its files, over which Hydra stumbles."""
    problems = []
    for override in overrides:
        group = override.key_or_group
        values = [file.stem for folder in folders for file in (folder / group).glob("*.yaml") if "." not in group]
        if not values or override.is_delete() or override.is_sweep_override():
            continue
        value = override.value()
        if isinstance(value, bool | int | float) or (group == GROUP and not isinstance(value, str)):
            several = f"; one run each: -m {group}={','.join(map(str, value))}" if isinstance(value, list) else ""
            expected = f"one name{several}; {choices(value, sorted(set(values)))}"
            problems.append(SettingProblem(group, value, expected, f"command line: {override.input_line}"))
    return problems


def _chosen_plans(config_name: str | None, overrides: Sequence[Override], folders: Sequence[Path]) -> list[str]:
    """The plans that a configuration is made of, as far as they exist: an unknown one is for Hydra to refuse."""
    chosen = [str(o.value()) for o in overrides if o.key_or_group == GROUP and not o.is_sweep_override()]
    if not chosen and config_name is not None:
        chosen = _default_plan(config_name, folders)
    return [name for name in chosen[-1:] if find_plan(name, folders)]


def _default_plan(config_name: str, folders: Sequence[Path]) -> list[str]:
    for folder in folders:
        file = folder / f"{config_name}.yaml"
        if file.is_file():
            content = OmegaConf.load(file)
            entries = content.get("defaults") or [] if isinstance(content, DictConfig) else []
            return [str(entry[GROUP]) for entry in entries if isinstance(entry, Mapping) and GROUP in entry]
    return []


def search_folders() -> list[Path]:
    """Folders in which configuration files are looked for, the strongest first.

    While a command runs those include what ``--config-dir`` names; else they are the user's and the shipped ones.
    """
    hydra = GlobalHydra.instance().hydra
    path = hydra.config_loader.get_search_path() if hydra is not None else None
    if path is None or not _is_frans(path):
        return [*user_conf_dirs(), conf_dir()]
    return _file_folders(path)


def _file_folders(path: ConfigSearchPath) -> list[Path]:
    names = [entry.path.removeprefix("file://") for entry in path.get_path()]
    return [Path(name) for name in names if "://" not in name]


def _is_frans(path: ConfigSearchPath) -> bool:
    main = next((entry.path for entry in path.get_path() if entry.provider == "main"), None)
    return main is not None and Path(main.removeprefix("file://")) == conf_dir()


def composed(name: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration `name` with Hydra's own node.

    Inside a running command it is composed with that command's search path, else with the user's and the shipped one.

    Raises:
        ConfigError: a plan file has not the form of one.
        HydraException, OmegaConfBaseException, yaml.YAMLError: it cannot be composed; see `fran.workflows.explain`.
    """
    install()
    hydra = GlobalHydra.instance().hydra
    if hydra is not None and _is_frans(hydra.config_loader.get_search_path()):
        return compose(config_name=name, overrides=list(overrides), return_hydra_config=True)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(config_name=name, overrides=list(overrides), return_hydra_config=True)
