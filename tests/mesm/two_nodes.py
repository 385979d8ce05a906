"""Two nodes of a Ray cluster as processes of this machine, one core each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def two_nodes(path: str = str(ROOT), environment: Mapping[str, str] = {}) -> Iterator[Any]:
    """Give the cluster and its second node; workers have `path` as PYTHONPATH."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([path, os.environ.get("PYTHONPATH", "")]))
        for name, value in environment.items():
            patch.setenv(name, value)
        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            del node["include_dashboard"]
            yield cluster, cluster.add_node(**node)
        finally:
            cluster.shutdown()
