"""Parameters stand in the order of the ops that they are spread into."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import mesm_ops
from mesm_ops import AttentionParameters, NormParameters


@pytest.mark.parametrize(
    ("op", "parameters", "last"),
    [
        (mesm_ops.cross_modal_score, AttentionParameters, "score_bias"),
        (mesm_ops.sparse_batch_norm, NormParameters, "eps"),
    ],
)
def test_the_order_is_that_of_the_op(op: Callable[..., Any], parameters: Any, last: str) -> None:
    wanted = list(inspect.signature(op).parameters)
    first = wanted.index(parameters._fields[0])
    assert tuple(wanted[first : wanted.index(last) + 1]) == parameters._fields
