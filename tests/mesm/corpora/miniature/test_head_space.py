"""Outlines are taken down in head space, and become pixels all at once."""

from __future__ import annotations

import numpy as np
import pytest

from mesm.corpora.miniature.head_space import Sheet, circle


def test_a_circle_is_closed_and_a_part_of_one_has_its_end():
    whole, half = circle(8), circle(5, np.pi)
    assert whole.shape == (8, 2)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1)
    np.testing.assert_allclose(whole.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(half[[0, 2, 4]], [[1, 0], [0, 1], [-1, 0]], atol=1e-12)


def test_what_is_taken_down_has_its_place_in_head_space():
    sheet = Sheet()
    np.testing.assert_array_equal(sheet.line([1, 2, 3], 4), [[1, 4], [2, 4], [3, 4]])
    np.testing.assert_allclose(sheet.stroke(1, 2, (0.5, -1), (0, 3), side=-1), [[0.5, 1], [1, 5]])
    ring = sheet.ring(1, 2, 3, 4, circle(4))
    np.testing.assert_allclose(ring, [[4, 2], [1, 6], [-2, 2], [1, -2]], atol=1e-12)
    u, top, bottom = np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.array([4.0, 5.0])
    np.testing.assert_array_equal(sheet.between(u, top, bottom), [[0, 2], [1, 3], [1, 5], [0, 4]])


def test_all_of_a_sheet_is_projected_once_where_it_lies():
    sheet, calls = Sheet(), []

    def project(points):
        calls.append(len(points))
        return 10 * points + [1, 2]

    line, ring = sheet.line([1, 2], [3, 4]), sheet.ring(0, 0, 1, 1, circle(4))
    part = ring[:2]
    sheet.region(12, 0, 1, 2, 3)
    sheet.project(project)
    assert calls == [6]
    np.testing.assert_array_equal(line, [[11, 32], [21, 42]])
    np.testing.assert_allclose(part, [[11, 2], [1, 12]], atol=1e-12)
    assert sheet.regions == [(12, (0, 1, 2, 3))]


def test_more_points_than_a_face_has_are_refused():
    sheet = Sheet()
    with pytest.raises(ValueError, match="broadcast"):
        sheet.line(np.zeros(2000), np.zeros(2000))
