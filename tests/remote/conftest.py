"""A real OpenSSH server on a loopback port, with keys, configuration and storage of its own in a temporary folder."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest
import torch
import yaml

from fran.io.checkpoint import write_checkpoint
from fran.remote.settings import HpcSettings

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@dataclass
class Server:
    """A running sshd.

    Attributes:
        settings: with which the login works.
        storage: folder that plays the cluster's storage.
    """

    process: subprocess.Popen[bytes]
    settings: HpcSettings
    storage: Path

    def cut(self) -> None:
        """End the processes that serve the present logins, as a network or a node does."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert children, "nobody is logged in"
        for child in children:
            os.kill(int(child), signal.SIGKILL)

    def run(self, name: str, size: int = 1000, which: str = "best.ckpt", seed: int = 0) -> Path:
        """A checkpoint of some bytes on the cluster."""
        path = self.storage / "checkpoints" / "kits" / name / which
        weights = torch.randint(256, (size,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        write_checkpoint({"weights": weights}, path)
        return path

    def model(self, name: str, threshold_hu: float = 100.5) -> Path:
        """A run that can predict: label 3 above a threshold, by a 1x1x1 convolution."""
        path = self.storage / "checkpoints" / "kits" / name / "best.ckpt"
        meta = {
            "format": 1, "run": name, "modality": "CT", "spacing": [1.0, 1.0, 2.0], "patch_size": [4, 4, 4],
            "network": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
            "labels": {"values": [3], "names": {"3": "kidney"}}, "mode": "source",
            "properties": {"intensity_clip_range": [-500, 900], "mean_fg": 0.0, "std_fg": 1.0},
        }  # fmt: skip
        state = {
            "network.weight": torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1),
            "network.bias": torch.tensor([0.0, -threshold_hu]),
        }
        write_checkpoint({"state_dict": state, "fran": meta}, path)
        return path

    def hpc_yaml(self, **changes: object) -> Path:
        """The settings as a user writes them."""
        s = self.settings
        keys = {"host": s.host, "username": s.username, "hpc_storage": str(s.hpc_storage), "port": s.port}
        keys |= {"key_file": str(s.key_file), "known_hosts": str(s.known_hosts), **changes}
        path = self.storage.parent / "hpc.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in keys.items() if value is not None}))
        return path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server; the test's own environment has no agent and no password."""
    if SSHD is None:
        pytest.skip("no OpenSSH server: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, started by root, locks its children up
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("FRAN_HPC_PASSWORD", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = _prepare(tmp_path)
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=(tmp_path / "sshd.log").open("wb")
    )
    try:
        _wait(settings.port, process, tmp_path / "sshd.log")
        yield Server(process, settings, tmp_path / "storage")
    finally:
        process.terminate()
        process.wait(10)


def _prepare(folder: Path) -> HpcSettings:
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
    (folder / "storage" / "checkpoints" / "kits").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host_key'}\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPidFile {folder / 'sshd.pid'}\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin yes\nPasswordAuthentication yes\nSubsystem sftp internal-sftp\n"
    )
    kind, key = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    return HpcSettings(
        "127.0.0.1",
        getpass.getuser(),
        PurePosixPath(folder / "storage"),
        port,
        folder / "user_key",
        folder / "known_hosts",
    )


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.skip(f"sshd does not start here: {log.read_text()[-300:]}")


@pytest.fixture
def wrong_key(server: Server, tmp_path: Path) -> HpcSettings:
    """Settings with a key that the server does not know."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    return replace(server.settings, key_file=tmp_path / "other")
