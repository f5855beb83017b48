"""Whether torchrun or SLURM have started the processes of a training, told from the environment alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fran.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Where a process stands among those that torchrun or SLURM started.

    Attributes:
        by: who started them.
        rank: of this process, 0 for the first.
        world_size: processes on all machines.
        local: processes on this machine.
    """

    by: str
    rank: int
    world_size: int
    local: int

    @property
    def machines(self) -> int:
        """Machines that take part."""
        return self.world_size // self.local

    def lacking(self, devices: int) -> str:
        """What ``trainer.devices`` should be, where it is something else; one process is one device."""
        if devices in (1, -1, self.local):
            return ""
        return f"nothing, or {self.local}, as many as the processes that {self.by} started on this machine"


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place; None where it was started alone, or by fran.

    Raises:
        ConfigError: SLURM does not say how many processes each machine has.
    """
    if "LOCAL_WORLD_SIZE" in environment:
        numbers = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        found = Place("torchrun", *numbers)
    elif _by_slurm(environment):
        if not environment.get("SLURM_NTASKS_PER_NODE", "").isdigit():
            raise ConfigError("SLURM: expected --ntasks-per-node with srun or sbatch, one process a device, found none")
        numbers = (int(environment[name]) for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"))
        found = Place("SLURM", *numbers)
    else:
        return None
    return found if found.world_size > 1 else None


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody has started the processes already: torchrun, SLURM, or `fran.training.ranks.other_ranks`."""
    return "LOCAL_RANK" in environment or _by_slurm(environment)


def _by_slurm(environment: Mapping[str, str]) -> bool:
    tasks = environment.get("SLURM_NTASKS", "1")
    interactive = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return tasks.isdigit() and int(tasks) > 1 and not interactive
