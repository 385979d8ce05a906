"""Which kernel is chosen, by the tables that are shipped and by a user's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from benchmarks.shapes import FACE_BLOCKS
from mesm_ops.triton.parts import choice
from mesm_ops.triton.parts.choice import Choice, config_paths, possible

GPU = torch.device("cuda", 0)
H100 = "NVIDIA H100 80GB HBM3"
TABLES = sorted(config_paths("any")[1].parent.glob("*.json"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A GPU by name, an H100, and a cache folder with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choice, "triton_interprets", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: H100)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    choice._choose.cache_clear()
    choice._table.cache_clear()


def chosen(
    kernel: str, dtype: torch.dtype, cin: int, cout: int, transposed: bool = False
) -> Choice:
    return choice._choose(kernel, GPU, dtype, cin, cout, transposed, False)


def products() -> list[tuple[str, int, int, bool]]:
    """All products of the face blocks' training steps."""
    found = []
    for shape in FACE_BLOCKS:
        for cin in (shape.in_channels, shape.out_channels):
            cout = shape.out_channels
            found += [("convolution", cin, cout, False), ("convolution", cout, cin, True)]
            found.append(("weight_gradient", cin, cout, False))
    return found


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_shipped_table_has_what_is_read_of_it(path: Path) -> None:
    table = json.loads(path.read_text())
    assert table["triton"].replace(".", "").isdigit()
    for kernel in ("convolution", "weight_gradient"):
        keys = []
        for row in table[kernel]:
            assert set(row) == {"itemsize", "transposed", "cin", "cout", "hopper", "us"}
            assert row["us"] > 1  # a time, and no placeholder
            keys.append((row["itemsize"], row["transposed"], row["cin"], row["cout"]))
            dtype = torch.bfloat16 if row["itemsize"] == 2 else torch.float32
            kinds = possible(kernel, dtype, row["cin"], row["cout"], (9, 0))
            assert row["hopper"] in {each.hopper for each in kinds}
        assert keys
        assert len(set(keys)) == len(keys)


def test_a_table_is_found_by_the_gpus_name(gpu: Path) -> None:
    own, shipped = config_paths(choice.gpu_name(GPU))
    assert own == gpu / "mesm_ops" / "nvidia-h100-80gb-hbm3.json"
    assert shipped in TABLES


@pytest.mark.usefixtures("gpu")
def test_an_h100_takes_the_hopper_kernels_in_the_face_blocks() -> None:
    for kernel, cin, cout, transposed in products():
        found = chosen(kernel, torch.bfloat16, cin, cout, transposed)
        assert found == possible(kernel, torch.bfloat16, cin, cout, (9, 0))[-1]
        assert found.hopper
        # Float32 was not measured and stays with the plain kernels.
        assert not chosen(kernel, torch.float32, cin, cout, transposed).hopper


@pytest.mark.usefixtures("gpu")
def test_channels_that_the_hopper_kernels_do_not_take_fall_back() -> None:
    assert not chosen("convolution", torch.bfloat16, 48, 96).hopper
    assert not chosen("weight_gradient", torch.bfloat16, 128, 64).hopper


def test_a_users_own_table_comes_first(gpu: Path) -> None:
    row: dict[str, Any] = {"itemsize": 2, "transposed": False, "cin": 64, "cout": 128, "us": 1.0}
    table = {"triton": "0.0", "convolution": [row | {"hopper": False}]}
    own = config_paths(choice.gpu_name(GPU))[0]
    own.parent.mkdir()
    own.write_text(json.dumps(table))
    assert chosen("convolution", torch.bfloat16, 64, 128).hopper  # of another Triton: passed over
    version = ".".join(choice.triton.__version__.split(".")[:2])
    own.write_text(json.dumps(table | {"triton": version}))
    forget()
    assert not chosen("convolution", torch.bfloat16, 64, 128).hopper


@pytest.mark.usefixtures("gpu")
def test_another_gpu_takes_the_plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    assert not chosen("convolution", torch.bfloat16, 64, 128).hopper


def write_own(table: Any) -> Path:
    own = config_paths(choice.gpu_name(GPU))[0]
    own.parent.mkdir(exist_ok=True)
    own.write_text(table if isinstance(table, str) else json.dumps(table))
    forget()
    return own


def row_of(cin: int, cout: int, hopper: bool, **others: Any) -> dict[str, Any]:
    row = {"itemsize": 2, "transposed": False, "cin": cin, "cout": cout, "hopper": hopper}
    return row | others


KERNELS = ("convolution", "weight_gradient")
VERSION = ".".join(choice.triton.__version__.split(".")[:2])


@pytest.mark.usefixtures("gpu")
def test_the_nearest_shape_of_the_same_kind_decides() -> None:
    rows = [
        row_of(64, 128, False),
        row_of(512, 512, True),
        row_of(64, 128, True, transposed=True),
        row_of(64, 128, True, itemsize=4),
    ]
    write_own({"triton": VERSION, "convolution": rows})
    assert not chosen("convolution", torch.bfloat16, 64, 128).hopper
    assert not chosen("convolution", torch.float16, 128, 128).hopper  # 64→128 is nearer
    assert chosen("convolution", torch.bfloat16, 256, 512).hopper
    assert chosen("convolution", torch.bfloat16, 64, 128, transposed=True).hopper
    # A table that is taken holds alone: of weight gradients nothing is known.
    assert not chosen("weight_gradient", torch.bfloat16, 64, 128).hopper
    # Nothing measured makes a kernel take what it cannot.
    assert not chosen("convolution", torch.bfloat16, 500, 500).hopper
    assert not choice._choose("convolution", GPU, torch.bfloat16, 512, 512, False, True).hopper


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[1]", "a table is a JSON object, got list"),
        ({"triton": VERSION, "gpu": "Other GPU"}, "measured on another GPU, Other GPU"),
        ({"triton": VERSION, "convolution": {}}, "convolution must be a list of rows, got dict"),
        ({"triton": VERSION, "weight_gradient": [7]}, r"a row of weight_gradient has .*; got 7"),
        ({"triton": VERSION, "convolution": [{"cin": 64}]}, r"has itemsize \(int\), .* got"),
        ({"triton": VERSION, "convolution": [row_of(0, 64, True)]}, "channels at least 1; got"),
        ({"triton": VERSION, "convolution": [row_of(64, 64, 1)]}, r"hopper \(bool\)"),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_a_file_that_is_no_table_is_passed_over_with_a_warning(table: Any, message: str) -> None:
    own = write_own(table)
    with pytest.warns(UserWarning, match=message) as warned:
        found = [chosen(kernel, torch.bfloat16, 64, 128) for kernel in KERNELS]
    assert all(one.hopper for one in found)  # by the shipped table
    assert len(warned) == 1
    said = str(warned[0].message)
    assert str(own) in said
    assert "python -m mesm_ops.tune" in said


@pytest.mark.usefixtures("gpu")
def test_a_file_that_cannot_be_read_is_passed_over_with_a_warning() -> None:
    own = config_paths(choice.gpu_name(GPU))[0]
    own.mkdir(parents=True)
    with pytest.warns(UserWarning, match="passes over"):
        assert chosen("convolution", torch.bfloat16, 64, 128).hopper


@pytest.mark.usefixtures("gpu")
def test_a_user_without_a_home_has_the_shipped_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert chosen("convolution", torch.bfloat16, 64, 128).hopper


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("version", ["3.7.0", "3.60.1"])
def test_another_triton_has_neither_table_nor_hopper_kernels(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(choice.triton, "__version__", version)
    assert not chosen("convolution", torch.bfloat16, 64, 128).hopper
    assert choice._table(choice.gpu_name(GPU)) == {}
