"""CSV files that other programs wrote for clips: finding them, and reading columns by name."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from mesm.runs.files import file_name

# The words that C++ and Python programs write where there is no number.
_NO_NUMBER = ["", "nan", "NaN", "-nan", "nan(ind)", "-nan(ind)", "NA"]


def find_csv(folder: Path, clip_id: str, dialog: str) -> tuple[Path, bool] | None:
    """Find the file of a clip, or of its dialog.

    Returns:
        The file, and whether it is the clip's own, its time counted from the clip's start; else it
        is counted in the dialog. None: neither is there.

    Raises:
        ValueError: a name would lead out of the folder.
    """
    file_name(clip_id, "clip id")
    file_name(dialog, "dialog")
    own, shared = folder / f"{clip_id}.csv", folder / f"{dialog}.csv"
    if own.is_file():
        return own, True
    return (shared, False) if shared.is_file() else None


def read_header(file: Path) -> list[str]:
    """Read the names of the columns, without the blanks around them.

    Raises:
        ValueError: it is not UTF-8 text, or has no header; names the file.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header = next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is not a CSV file ({error})") from error
    if not header:
        raise ValueError(f"{file} is empty; wanted a CSV file with a header")
    return [name.strip() for name in header]


def require_columns(file: Path, wanted: Sequence[str], source: str) -> None:
    """Check that a file has columns.

    Raises:
        ValueError: one is missing, or twice there; names it, the file and the program to run.
    """
    header = read_header(file)
    for name in wanted:
        if header.count(name) != 1:
            what = "no column" if name not in header else "two columns"
            raise ValueError(f"{file} has {what} {name!r}; wanted a CSV file as {source} writes it")


def read_columns(file: Path, names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Read columns of numbers; a field without a number is NaN.

    Raises:
        ValueError: a column is missing, a row has too many or too few fields, or one of its fields
            is no number; names the file and says where.
    """
    stat = file.stat()
    return dict(_read(file, tuple(names), (stat.st_mtime_ns, stat.st_size)))


# A dialog's file serves clip after clip.
@lru_cache(maxsize=2)
def _read(
    file: Path, names: tuple[str, ...], _version: tuple[int, int]
) -> dict[str, npt.NDArray[np.float64]]:
    header = read_header(file)
    for name in names:
        if name not in header:
            raise ValueError(f"{file} has no column {name!r}")
    # Columns not asked for may repeat a name, so all are renamed by their place.
    places = {name: f"{header.index(name)}" for name in names}
    try:
        table = pacsv.read_csv(
            file,
            read_options=pacsv.ReadOptions(
                use_threads=False,
                skip_rows=1,
                column_names=[str(i) for i in range(len(header))],
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(places.values()),
                column_types=dict.fromkeys(places.values(), pa.float64()),
                null_values=[blank + text for text in _NO_NUMBER for blank in ("", " ")],
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return {name: np.zeros(0) for name in names}
        what = str(error).splitlines()[0]
        raise ValueError(f"{file} cannot be read, make it anew: {what}") from error
    columns = {name: table[place].to_numpy().astype(np.float64) for name, place in places.items()}
    for values in columns.values():
        values.flags.writeable = False
    return columns
