"""What the verbs `fran plan …` share: their command line, their project, and how stages are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fran.errors import ConfigError
from fran.workflows.entry import Job, put_in_words, run_verb
from fran.workflows.projects import folders_of
from fran.workflows.schema import PlansConfig, TrainingConfig
from fran.workflows.terminal import WITH_VALUE

if TYPE_CHECKING:
    from fran.projects.project import Project


def run_plan_verb(task: Callable[[Job[PlansConfig]], None], positional: Sequence[str]) -> None:
    """Run a verb whose first words without ``=`` are values of `positional`.

    Plans are looked at even when they cannot work, so nothing is checked here.
    """
    put_in_words(lambda words: named(words, positional))
    run_verb("plans", PlansConfig, task, look_only=True)


def named(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Overrides for a command line on which the values of `keys` may stand without their names.

    Raises:
        ConfigError: more bare words than keys.

    Example:
        >>> named(["plan1", "plan2", "spacing=[1,1,1]"], ["plan", "against"])
        ['plan=plan1', 'against=plan2', 'spacing=[1,1,1]']
    """
    found: list[str] = []
    free = [key for key in keys if not any(a.startswith(f"{key}=") for a in arguments)]
    follows = False
    for argument in arguments:
        bare = not follows and "=" not in argument and not argument.startswith(("-", "~"))
        follows = argument in WITH_VALUE
        if bare and not free:
            expected = f"{len(keys)} name{'s' if len(keys) > 1 else ''} and key=value settings" if keys else "key=value"
            raise ConfigError(f"'{argument}': expected {expected}, found one word more")
        found.append(f"{free.pop(0)}={argument}" if bare else argument)
    return found


def project_of(config: PlansConfig | TrainingConfig) -> Project | None:
    """The configured project; None where it has not been made."""
    from fran.projects.project import Project

    project = Project(config.project.title, folders_of(config.paths, config.project))
    return project if project.exists else None
