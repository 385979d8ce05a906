from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from mesm_ops.triton.neighbours import (
    CHUNK,
    chunks_of,
    neighbour_table,
    neighbours,
)
from tests import oracle
from tests.mesm_ops.cases import Case, cases, make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def neighbours_of(case: Case) -> torch.Tensor:
    sites, offsets = case.x.sites.to(DEVICE), case.x.offsets.to(DEVICE)
    size = (case.x.height, case.x.width)
    table = neighbour_table(sites, offsets, *size)
    assert table.dtype == torch.int32
    assert table.shape == (sites.shape[0], 9)
    found = neighbours(sites, offsets, *size)
    assert torch.equal(found.table, table)
    ranks, counts = oracle.ranks(table.cpu(), case.x.offsets, CHUNK, chunks_of(*size))
    assert found.ranks[: case.rows].tolist() == ranks
    assert torch.equal(found.counts.cpu(), counts)
    return table.cpu()


def wanted_of(case: Case) -> torch.Tensor:
    """Look each neighbour up in a dictionary of the active sites."""
    active = [tuple(site) for site in case.mask.nonzero().tolist()]  # in the rows' order
    row_of = {site: row for row, site in enumerate(active)}
    table = torch.full((case.x.sites.shape[0], 9), -1, dtype=torch.int32)
    for row, (frame, y, x) in enumerate(active):
        for offset in range(9):
            dy, dx = offset // 3 - 1, offset % 3 - 1
            table[row, offset] = row_of.get((frame, y + dy, x + dx), -1)
    return table


@given(case=cases([torch.float32]))
@settings(max_examples=20)
def test_equals_a_dictionary(case: Case) -> None:
    assert torch.equal(neighbours_of(case), wanted_of(case))


@pytest.mark.parametrize(("density", "padding"), [(1.0, 0), (0.5, 1100), (0.0, 700)])
def test_frames_and_padding_of_more_rows_than_a_program_takes_at_a_time(
    density: float, padding: int
) -> None:
    case = make_case(2, 1, 27, 25, density, torch.float32, padding)
    assert torch.equal(neighbours_of(case), wanted_of(case))


def test_of_no_frames_all_rows_are_padding() -> None:
    case = make_case(0, 1, 4, 4, 1.0, torch.float32, padding=3)
    assert neighbours_of(case).tolist() == [[-1] * 9] * 3


def test_one_row_is_its_own_neighbour() -> None:
    case = make_case(1, 1, 1, 1, 1.0, torch.float32)
    assert neighbours_of(case).tolist() == [[-1] * 4 + [0] + [-1] * 4]
