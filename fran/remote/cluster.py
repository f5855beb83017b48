"""Files of a cluster over SFTP: one login for a command, made anew where the connection was lost."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import asyncssh

from fran.errors import StoreError
from fran.remote.login import Unreachable, login
from fran.remote.settings import HpcSettings

CHUNK = 2 << 20
ANSWER_S = 60
DIGEST_S = 1800  # of large files on a busy file system
_DIGEST = re.compile(r"^\\?([0-9a-f]{64}) ", re.MULTILINE)
T = TypeVar("T")


@dataclass(frozen=True)
class FileState:
    """Size in bytes and time of the last change, in whole seconds since 1970: by these a change is seen."""

    size: int
    mtime: int


class Cluster:
    """A login that is made when it is first needed.

    Used as a context manager it is closed at the end. Every method raises `Unreachable` where the connection is lost,
    and `StoreError` where the cluster says no; the next call logs in again.

    Args:
        settings: of hpc.yaml.
    """

    def __init__(self, settings: HpcSettings) -> None:
        self.settings = settings
        self._runner = asyncio.Runner()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._sftp: asyncssh.SFTPClient | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Log out."""
        self._drop()
        self._runner.close()

    def names(self, folder: str) -> list[str] | None:
        """Names in a folder, sorted, as the server gives them, not to be trusted; None without such a folder."""

        async def work(sftp: asyncssh.SFTPClient) -> list[str] | None:
            try:
                found = await sftp.listdir(
                    folder.encode()
                )  # bytes: one name in another encoding must not fail them all
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNotADirectory):
                return None
            return sorted(name.decode(errors="backslashreplace") for name in found if name not in (b".", b".."))

        return self._run(work, folder)

    def state(self, path: str) -> FileState | None:
        """State of a file; None where there is none."""

        async def work(sftp: asyncssh.SFTPClient) -> FileState | None:
            try:
                found = await sftp.stat(path)
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNotADirectory):
                return None
            return FileState(int(found.size or 0), int(found.mtime or 0)) if await sftp.isfile(path) else None

        return self._run(work, path)

    def sha256(self, path: str) -> str | None:
        """SHA-256 of a file in hex, by the cluster's ``sha256sum``; None where it lacks that or forbids commands."""

        async def work(_: asyncssh.SFTPClient) -> str | None:
            assert self._connection is not None
            try:
                done = await self._connection.run(f"sha256sum -- {shlex.quote(path)}", check=False, timeout=DIGEST_S)
            except (asyncssh.ChannelOpenError, asyncssh.TimeoutError):
                return None
            # a login script may print a greeting first
            found = _DIGEST.findall(str(done.stdout or ""))
            return str(found[-1]) if done.exit_status == 0 and found else None

        return self._run(work, path, DIGEST_S + ANSWER_S)

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Pieces of a file from a byte on."""

        async def opened(sftp: asyncssh.SFTPClient) -> asyncssh.SFTPClientFile:
            return await sftp.open(path, asyncssh.FXF_READ, encoding=None)

        async def piece(_: asyncssh.SFTPClient) -> bytes:
            data: bytes = await file.read(CHUNK, at)
            return data

        async def closed(_: asyncssh.SFTPClient) -> None:
            await file.close()

        file, at = self._run(opened, path), start
        while got := self._run(piece, path):
            at += len(got)
            yield got
        self._run(closed, path)

    def _run(self, work: Callable[[asyncssh.SFTPClient], Awaitable[T]], path: str, limit_s: float = ANSWER_S) -> T:
        async def session() -> T:
            if self._sftp is None:
                self._connection = await login(self.settings)
                self._sftp = await self._connection.start_sftp_client()
            return await asyncio.wait_for(work(self._sftp), limit_s)

        try:
            return self._runner.run(session())
        except asyncssh.SFTPPermissionDenied as error:
            raise StoreError(
                f"{self.settings.place}: {path} may not be read by {self.settings.username}; ask its owner for "
                f"`chmod -R g+rX` of the run's folder"
            ) from error
        except asyncssh.SFTPNoSuchFile as error:
            raise StoreError(
                f"{self.settings.place}: {path} is not there any more; fran hpc ls lists what is"
            ) from error
        except (asyncssh.Error, OSError, TimeoutError) as error:
            self._drop()
            if isinstance(error, asyncssh.SFTPFailure | asyncssh.ChannelOpenError):
                raise StoreError(f"{self.settings.place}: {path} cannot be read: {error}") from error
            said = "no answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise Unreachable(f"{self.settings.place}: the connection was lost: {said}") from error

    def _drop(self) -> None:
        connection, self._connection, self._sftp = self._connection, None, None
        if connection is None:
            return

        async def end(open_one: Any) -> None:
            open_one.abort()
            await open_one.wait_closed()

        self._runner.run(end(connection))
