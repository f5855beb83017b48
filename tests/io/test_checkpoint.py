from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fran.errors import StoreError
from fran.io.checkpoint import REQUIRED, new_run_folder, read_checkpoint, read_model, write_checkpoint


def content(**fran):
    return {
        "state_dict": {"network.weight": torch.arange(3.0), "other": torch.zeros(1)},
        "fran": {"format": 1, **dict.fromkeys(REQUIRED), **fran},
    }


def test_round_trip_strips_the_prefix(tmp_path):
    write_checkpoint(content(mode="source"), tmp_path / "last.ckpt")
    model = read_model(tmp_path)
    assert model.path == tmp_path / "last.ckpt"
    assert model.meta["mode"] == "source"
    assert list(model.state_dict) == ["weight"]
    assert torch.equal(model.state_dict["weight"], torch.arange(3.0))


def test_a_folder_means_its_best_checkpoint(tmp_path):
    write_checkpoint(content(run="last"), tmp_path / "last.ckpt")
    write_checkpoint(content(run="best"), tmp_path / "best.ckpt")
    assert read_model(tmp_path).meta["run"] == "best"


def test_truncated_missing_and_foreign_files(tmp_path):
    path = tmp_path / "last.ckpt"
    with pytest.raises(StoreError, match="found none"):
        read_model(tmp_path)
    write_checkpoint(content(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(StoreError, match="cannot be loaded as plain data"):
        read_model(path)
    write_checkpoint({"state_dict": {}}, path)
    with pytest.raises(StoreError, match=r"not written by fran.*network"):
        read_model(path)
    write_checkpoint(content(format=2), path)
    with pytest.raises(StoreError, match="format 2, expected 1"):
        read_model(path)


class Payload:
    """Would run on unpickling."""

    def __reduce__(self):
        return (print, ("never",))


def test_code_is_never_run(tmp_path, capsys):
    torch.save({"fran": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(StoreError, match="plain data"):
        read_checkpoint(tmp_path / "bad.ckpt")
    assert "never" not in capsys.readouterr().out


def test_failed_write_keeps_the_former_file(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint(content(run="first"), path)
    with pytest.raises(Exception, match="pickle"):
        write_checkpoint({"bad": lambda: None}, path)
    assert read_model(path).meta["run"] == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_runs_started_together_get_their_own_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_run_folder(tmp_path / "p", "plan1", "dynunet", 0), range(16)))
    assert {p.name for p in made} == {f"plan1-dynunet-f0-{n}" for n in range(1, 17)}
    assert new_run_folder(tmp_path / "p", "plan1", "dynunet", "all").name == "plan1-dynunet-all-1"
