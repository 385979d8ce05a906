"""Files of tensors: whole ones are read, any other is refused in one line."""

import io
import os
import pickle
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from mesm.runs.tensor_files import read_forms, read_tensors

TENSORS = {"a.weight": torch.arange(60.0).reshape(20, 3), "a.bias": torch.ones(4)}
MEND = "copy the file again"


def pickled(value, new=True):
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.safetensors", save(TENSORS)),
        ("w.pt", pickled(TENSORS)),
        ("w.pth", pickled(TENSORS, False)),
    ],
)
def test_whole_files_are_read_and_damaged_ones_refused(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    found = read_tensors(file, MEND)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[key], TENSORS[key]) for key in TENSORS)
    cuts = [content[: len(content) * part // 9] for part in range(9)]
    for damaged in (*cuts, b"nonsense", b"\0" * 100, os.urandom(900), b"<html>no such page</html>"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{name}: not a .* or damaged \(.*\); {MEND}$"):
            read_tensors(file, MEND)


def test_bytes_changed_anywhere_raise_nothing_but_refusals(tmp_path):
    draw = random.Random(20)
    file = tmp_path / "w.pth"
    refused = []
    for _ in range(150):
        content = bytearray(pickled(TENSORS, False))
        for _ in range(draw.choice([1, 3, 20])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        file.write_bytes(content)
        try:
            read_tensors(file, MEND)
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(text.startswith(f"{file}: ") and "\n" not in text for text in refused)


@pytest.mark.parametrize(
    "value",
    [None, 1, "x", [TENSORS], {"a": 1}, {1: torch.ones(1)}, {"state_dict": TENSORS}, torch.ones(2)],
)
def test_other_content_is_refused(tmp_path, value):
    file = tmp_path / "w.pth"
    file.write_bytes(pickled(value))
    with pytest.raises(ValueError, match=rf"w\.pth: wanted (dense )?tensors by name.*; {MEND}"):
        read_tensors(file, MEND)


@pytest.mark.parametrize("value", [np.ones(2), torch.nn.Linear(1, 1), os.system])
def test_nothing_in_a_pickle_is_executed(tmp_path, value):
    file = tmp_path / "w.pth"
    file.write_bytes(pickle.dumps({"a": value}))
    with pytest.raises(ValueError, match=r"w\.pth: not a file of torch weights"):
        read_tensors(file, MEND)


def test_no_file_no_tensors(tmp_path):
    with pytest.raises(ValueError, match=rf"none\.pt is not there; {MEND}"):
        read_tensors(tmp_path / "none.pt", MEND)
    with pytest.raises(ValueError, match=f"is a folder, wanted a file; {MEND}"):
        read_tensors(tmp_path, MEND)
    torch.save({"a": torch.ones(2, 2).to_sparse()}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="dense tensors by name"):
        read_tensors(tmp_path / "w.pt", MEND)


def test_faults_of_our_own_are_not_taken_for_damage(tmp_path, monkeypatch):
    save_file(TENSORS, tmp_path / "w.safetensors")
    monkeypatch.setattr("mesm.runs.tensor_files.load_file", lambda file: file.no_such_thing)
    with pytest.raises(AttributeError):
        read_tensors(tmp_path / "w.safetensors", MEND)


def test_forms_are_read_from_the_header_alone(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros((), dtype=torch.int64)}, file)
    assert read_forms(file, "mend") == {"a": ("F32", (2, 3)), "b": ("I64", ())}
    content = file.read_bytes()
    for damaged in (content[:-1], content[:20], b"", b"\x80\x02}."):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"x\.safetensors: not a safetensors file.*; mend"):
            read_forms(file, "mend")
    with pytest.raises(ValueError, match="is not there; mend"):
        read_forms(tmp_path / "none", "mend")


def test_a_header_may_be_too_long_to_be_read(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({f"tensor {n}": torch.zeros(1) for n in range(100)}, file)
    assert len(read_forms(file, "mend", 10_000)) == 100
    with pytest.raises(
        ValueError, match=r"names its tensors in \d+ bytes, wanted at most 1000; mend"
    ):
        read_forms(file, "mend", 1_000)
    file.write_bytes(file.read_bytes()[:2_000])
    with pytest.raises(ValueError, match="not a safetensors file, or damaged"):
        read_forms(file, "mend", 1_000)
