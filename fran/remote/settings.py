"""How to reach a cluster: the content of hpc.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from fran.errors import SettingProblem, choices, raise_for_settings

REQUIRED = ("host", "username", "hpc_storage")
PASSWORD = "FRAN_HPC_PASSWORD"
HIDDEN = "(not shown)"


@dataclass(frozen=True)
class HpcSettings:
    """A login and a place.

    Attributes:
        host: name of the login node, or of a ``Host`` of ``~/.ssh/config``, whose ProxyJump and the like then count.
        username: of the login.
        hpc_storage: folder of the runs on the cluster: what ``FRAN_HOME``, the cold storage or the root of the
            checkpoints is there.
        port: of the ssh server.
        key_file: private key; None is the usual ones of ``~/.ssh``. Keys of a running agent are offered first.
        known_hosts: keys of the hosts that are trusted.
        password: what the environment held, the last resort; never in the file, never shown.
    """

    host: str
    username: str
    hpc_storage: PurePosixPath
    port: int = 22
    key_file: Path | None = None
    known_hosts: Path = Path("~/.ssh/known_hosts")
    password: str | None = field(default=None, repr=False, compare=False)

    @property
    def place(self) -> str:
        """``user@host``, with the port where it is not the usual one."""
        return f"{self.username}@{self.host}" + (f":{self.port}" if self.port != 22 else "")

    @property
    def folder_name(self) -> str:
        """`place` as the name of a folder."""
        return self.place.replace(":", "_")

    @classmethod
    def from_mapping(cls, given: Any, where: str, password: str | None = None) -> HpcSettings:
        """Settings as read from a file.

        Args:
            given: content of the file.
            where: the file, for messages.
            password: from the environment.

        Raises:
            ConfigError: keys that are missing, unknown or cannot work, all of them at once; no value of a password is
                repeated.
        """
        if not isinstance(given, Mapping):
            raise_for_settings([SettingProblem("HPC_SETTINGS", where, f"a yaml file with {', '.join(REQUIRED)}")])
        raise_for_settings(_problems(given, where))
        key_file = given.get("key_file")
        return cls(
            host=str(given["host"]),
            username=str(given["username"]),
            hpc_storage=PurePosixPath(str(given["hpc_storage"])),
            port=int(given.get("port") or 22),
            key_file=Path(str(key_file)).expanduser() if key_file else None,
            known_hosts=Path(str(given.get("known_hosts") or cls.known_hosts)).expanduser(),
            password=password or None,
        )


def _problems(given: Mapping[str, Any], where: str) -> list[SettingProblem]:
    known = [f.name for f in fields(HpcSettings) if f.name != "password"]
    found = []
    for key in map(str, given):
        if "password" in key.lower() or "passphrase" in key.lower():
            expected = f"no secret in a file: delete this line, and use a key or an agent, or set {PASSWORD}"
            found.append(SettingProblem(key, HIDDEN, expected, where))
        elif key not in known:
            found.append(SettingProblem(key, HIDDEN, choices(key, known), where))
    found += [SettingProblem(key, given.get(key), "a value", where) for key in REQUIRED if not given.get(key)]
    storage, port, host = given.get("hpc_storage"), given.get("port") or 22, str(given.get("host") or "")
    if storage and not str(storage).startswith("/"):
        found.append(SettingProblem("hpc_storage", storage, "an absolute path on the cluster", where))
    if not isinstance(port, int) or not 0 < port < 65536:
        found.append(SettingProblem("port", port, "a whole number from 1 to 65535", where))
    if any(c in host for c in "/@ :") or host.startswith("-"):
        found.append(SettingProblem("host", host, "a host's name alone; user and port have keys of their own", where))
    key_file = given.get("key_file")
    if key_file and not Path(str(key_file)).expanduser().is_file():
        found.append(
            SettingProblem("key_file", key_file, "a private key that is there, such as ~/.ssh/id_ed25519", where)
        )
    return found
