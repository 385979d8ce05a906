"""The comparison of `make real` can fail; the recordings themselves are not fetched here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.real.acoustics import FASTEST_AT_LEAST, RECORDINGS, REFERENCE, compare
from tests.real.checks import worst

GOLDEN = Path(__file__).parent / "data" / "disvoice" / "golden.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as content:
        found = {key.split("/")[1]: content[key] for key in content.files if "talk/" in key}
    return found


def wrong(reference: dict[str, np.ndarray]) -> set[str]:
    waveform = (reference["samples"] / 2**15).astype(np.float32)
    checks = list(compare("talk", waveform, reference))
    # A time on a busy machine is no matter of this test.
    return {check.stage for check in checks if not check.right} - {"share of real time"}


def test_what_is_the_same_is_right(reference: dict[str, np.ndarray]) -> None:
    assert wrong(reference) == set()


@pytest.mark.parametrize(
    ("array", "stages"),
    [
        ("f0", {"F0, Hz", "voicing"}),
        ("borders", {"onsets"}),
        ("bbe", {"Bark energies", "rows of onsets"}),
        ("mfcc", {"MFCCs", "rows of onsets"}),
        ("posteriors", {"posteriors"}),
        ("statistics", {"statistics"}),
    ],
)
def test_each_stage_can_be_wrong(
    reference: dict[str, np.ndarray], array: str, stages: set[str]
) -> None:
    spoiled = reference[array] + reference[array].dtype.type(1)
    assert wrong({**reference, array: spoiled}) == stages


def test_other_shapes_and_gaps_are_wrong() -> None:
    assert worst([1.0, np.nan], [1.0, np.nan]) == 0
    assert worst([1.0, np.nan], [1.0, 2.0]) == float("inf")
    assert worst([1.0], [1.0, 2.0]) == float("inf")
    assert worst([300.0, 0.2], [303.0, 0.1]) == pytest.approx(0.1)
    assert worst([300.0, 0.2], [303.0, 0.1], 0) == 3


def test_the_kept_figures_are_of_the_recordings() -> None:
    with np.load(REFERENCE) as content:
        names = {key.split("/")[0] for key in content.files} - {"classes"}
    assert names == set(RECORDINGS)
    assert FASTEST_AT_LEAST == 50
