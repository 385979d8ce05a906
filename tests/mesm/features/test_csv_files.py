import numpy as np
import pytest

from mesm.features.csv_files import find_csv, read_columns, read_header, require_columns


def test_a_clips_own_file_comes_before_its_dialogs(tmp_path):
    assert find_csv(tmp_path, "d_1", "d") is None
    (tmp_path / "d.csv").touch()
    assert find_csv(tmp_path, "d_1", "d") == (tmp_path / "d.csv", False)
    (tmp_path / "d_1.csv").touch()
    assert find_csv(tmp_path, "d_1", "d") == (tmp_path / "d_1.csv", True)


def test_numbers_by_name(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("x, a, b ,b\n1, 0.5,nan, 3\n2,  1.25 , 7,4\n")
    assert read_header(file) == ["x", "a", "b", "b"]
    columns = read_columns(file, ["b", "a"])
    assert list(columns) == ["b", "a"]
    np.testing.assert_array_equal(columns["a"], [0.5, 1.25])
    np.testing.assert_array_equal(columns["b"], [np.nan, 7])
    require_columns(file, ["a"], "a program")
    with pytest.raises(ValueError, match=r"a\.csv has two columns 'b'"):
        require_columns(file, ["b"], "a program")
    file.write_text("a\n1\n2\n3\n")
    assert len(read_columns(file, ["a"])["a"]) == 3
    file.write_text("a\n")
    assert len(read_columns(file, ["a"])["a"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.csv is empty"),
        (b"b\n1\n", "a.csv has no column 'a'"),
        (b"a,b\n1,2\n1\n", "a.csv cannot be read, make it anew: .*Row #3"),
        (b"a,b\n1,2\nx,2\n", "a.csv cannot be read, make it anew: .*'x'"),
        (b"\xff\xfe\x00a", "a.csv is not a CSV file"),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_columns(file, ["a"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../d", "a/b", "a\0b", "..", "", "a" * 300])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    for clip_id, dialog in ((name, "d"), ("d_1", name)):
        with pytest.raises(ValueError, match="so it cannot name a file: rename it"):
            find_csv(tmp_path, clip_id, dialog)
