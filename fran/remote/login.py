"""Logging in: the host proves who it is first, then agent, key and password are tried in this order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh

from fran.errors import StoreError
from fran.remote.settings import PASSWORD, HpcSettings

LOGIN_S = 30
Attempt = tuple[str, dict[str, Any]]


class Unreachable(StoreError):
    """The network, not the answer, was the trouble: trying again may help."""


class _Witness(asyncssh.SSHClient):
    """Refuses every key that known_hosts does not hold, and remembers it for the message."""

    def __init__(self) -> None:
        self.refused: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called only where known_hosts does not vouch for the key."""
        self.refused = key
        return False


async def login(settings: HpcSettings) -> asyncssh.SSHClientConnection:
    """A connection to the cluster.

    Raises:
        Unreachable: nobody answers there.
        StoreError: the host's key is unknown or another one, or no way to log in was accepted.
    """
    # what asyncssh tells at INFO is about packets; its errors are raised, and said in fran's words
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    tried: list[str] = []
    async with _attempts(settings, tried) as attempts:
        for name, options in attempts:
            try:
                return await _connect(settings, options)
            except asyncssh.PermissionDenied:
                tried.append(f"{name}: refused")
            except asyncssh.DisconnectError as error:
                if "authentication failures" not in str(error).lower():
                    raise _unreachable(settings, error) from error
                tried.append(f"{name}: refused, too many keys")
    raise _refused(settings, tried)


async def _connect(settings: HpcSettings, options: dict[str, Any]) -> asyncssh.SSHClientConnection:
    witness = _Witness()
    known = str(settings.known_hosts) if settings.known_hosts.is_file() else b""
    try:
        connection, _ = await asyncio.wait_for(
            asyncssh.create_connection(
                lambda: witness,
                settings.host,
                settings.port,
                username=settings.username,
                known_hosts=known,
                agent_path=None,
                keepalive_interval=15,
                **options,
            ),
            LOGIN_S,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _untrusted(settings, witness.refused) from error
    except (OSError, TimeoutError) as error:
        raise _unreachable(settings, error) from error
    return connection


@asynccontextmanager
async def _attempts(settings: HpcSettings, tried: list[str]) -> AsyncIterator[list[Attempt]]:
    """Ways to log in, each in a connection of its own: servers count failures, and an agent may hold many keys."""
    agent = await _agent(tried)
    try:
        attempts: list[Attempt] = []
        keys = list(await agent.get_keys()) if agent is not None else []
        if keys:
            attempts.append((f"agent ({len(keys)} keys)", {"client_keys": keys, "password": None}))
        elif agent is not None:
            tried.append("agent: holds no keys")
        attempts += _key_attempt(settings, tried)
        if settings.password:
            # an empty sequence would mean the usual keys; None turns them off
            attempts.append((f"password of {PASSWORD}", {"client_keys": None, "password": settings.password}))
        else:
            tried.append(f"password: {PASSWORD} is not set")
        yield attempts
    finally:
        if agent is not None:
            agent.close()


async def _agent(tried: list[str]) -> Any:
    try:
        return await asyncssh.connect_agent()
    except (OSError, asyncssh.Error):
        tried.append("agent: none is running")
        return None


def _key_attempt(settings: HpcSettings, tried: list[str]) -> list[Attempt]:
    if settings.key_file is None:
        return [("keys of ~/.ssh", {"client_keys": (), "password": None})]
    try:
        key = asyncssh.read_private_key(settings.key_file)
    except asyncssh.KeyImportError as error:
        locked = "passphrase" in str(error).lower()
        tried.append(
            f"key {settings.key_file}: "
            + (
                f"has a passphrase; ssh-add {settings.key_file} gives it to the agent"
                if locked
                else "is no private key"
            )
        )
        return []
    except OSError as error:
        tried.append(f"key {settings.key_file}: cannot be read ({error.strerror})")
        return []
    return [(f"key {settings.key_file}", {"client_keys": [key], "password": None})]


def _untrusted(settings: HpcSettings, key: asyncssh.SSHKey | None) -> StoreError:
    if key is None:
        return StoreError(f"hpc.yaml: the key of {settings.host} was revoked in {settings.known_hosts}; do not log in")
    name = settings.host if settings.port == 22 else f"[{settings.host}]:{settings.port}"
    kind, fingerprint = key.get_algorithm(), key.get_fingerprint()
    line = f"{name} {key.export_public_key('openssh').decode().strip()}"
    add = f"echo '{' '.join(line.split()[:3])}' >> {settings.known_hosts}"
    if _has_other_key(settings):
        return StoreError(
            f"hpc.yaml: {name} shows another key than {settings.known_hosts} holds for it: {kind} {fingerprint}. "
            "Either the cluster was set up anew, or somebody listens in. Ask its administrators; only if that is their "
            f"key: ssh-keygen -f {settings.known_hosts} -R '{name}', and {add}"
        )
    return StoreError(
        f"hpc.yaml: {name} is not in {settings.known_hosts}, so nobody vouches for it. It shows the key {kind} "
        f"{fingerprint}; compare that with what the cluster's administrators publish, and if it is theirs: {add}"
    )


def _has_other_key(settings: HpcSettings) -> bool:
    if not settings.known_hosts.is_file():
        return False
    found = asyncssh.match_known_hosts(str(settings.known_hosts), settings.host, "", settings.port)
    return any(found[:2])


def _unreachable(settings: HpcSettings, error: BaseException) -> Unreachable:
    what = f"no answer within {LOGIN_S} s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return Unreachable(
        f"hpc.yaml: {settings.host}, port {settings.port}, cannot be reached: {what}; try: ssh -p {settings.port} "
        f"{settings.username}@{settings.host}"
    )


def _refused(settings: HpcSettings, tried: list[str]) -> StoreError:
    return StoreError(
        f"hpc.yaml: {settings.place} refused the login ({'; '.join(tried)}). Give the cluster your public key with "
        f"ssh-copy-id -p {settings.port} {settings.username}@{settings.host}, or export {PASSWORD}=…"
    )
