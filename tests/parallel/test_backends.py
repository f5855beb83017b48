from __future__ import annotations

import sys

import pytest

from fran.errors import ConfigError
from fran.parallel.backends import backend
from fran.parallel.local import run_jobs
from fran.parallel.ray import RayCluster


def test_backends_by_name() -> None:
    assert backend("local") is run_jobs
    assert backend("ray", "head:6379") == RayCluster("head:6379")


def test_unknown_backend_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ray'"):
        backend("rai")


def test_a_missing_ray_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of an absent package meets
    with pytest.raises(ConfigError, match=r"pip install 'fran\[ray\]'"):
        next(RayCluster()(abs, [1], 1))


def test_a_cluster_that_does_not_answer_is_said_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=r"'127\.0\.0\.1:1', found none.*ray start --head"):
        next(RayCluster("127.0.0.1:1")(abs, [1, 2], 2))


def test_a_ray_that_does_not_start_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def late(**settings: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002  (as Ray does)

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(ConfigError, match=r"expected Ray to start on this machine, .*timed out.* try again later"):
        next(RayCluster("local")(abs, [1, 2], 2))
