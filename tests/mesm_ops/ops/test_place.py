"""The schemas of the placing kernels: the tensors that a call writes to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mesm_ops  # noqa: F401 (defines them)

WRITTEN = {
    "select_and_place": [
        *("attention", "rows", "kept_offsets", "place", "lists", "masks", "x", "windows"),
        *("window_of", "out_sites", "out_offsets", "scratch"),
    ],
    "place": ["place_or_order", "lists", "masks", "scratch"],
    "place_scratch": [],
}


def schema(name: str) -> Any:
    return getattr(torch.ops.mesm_ops_cuda, name).default._schema


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written(name: str) -> None:
    arguments = schema(name).arguments
    assert [a.name for a in arguments if a.is_out or a.alias_info is not None] == WRITTEN[name]
    assert all(a.alias_info.is_write for a in arguments if a.alias_info is not None)


def test_nothing_new_is_returned() -> None:
    assert schema("select_and_place").returns == []
    assert schema("place").returns == []
    assert [str(one.type) for one in schema("place_scratch").returns] == ["int"]
