"""Schemas that follow from annotations, at run time and in the header that a build writes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mesm_ops import backends, reference
from mesm_ops.ops import schemas

SOURCE = Path(schemas.__file__)


LIBRARIES = [
    (op, library)
    for op in backends.ops()
    for library in ("mesm_ops", "mesm_ops_cpp", "mesm_ops_cuda")
    if library != "mesm_ops_cuda" or "cuda" in backends._kernels[op]
]


@pytest.mark.parametrize(("op", "library"), LIBRARIES)
def test_sources_say_what_torch_was_told(op: str, library: str) -> None:
    (found,) = (one for one in schemas.signatures() if one.name == op)
    assert found == schemas.signature_of(getattr(reference, op))
    wanted = found.schema if library == "mesm_ops" else found.kernel_schema
    overload = getattr(getattr(torch.ops, library), op).default
    assert str(overload._schema) == f"{library}::{wanted}"


def test_no_op_is_missing() -> None:
    assert {one.name for one in schemas.signatures()} == set(backends.ops())


def test_compiled_kernels_have_no_part_in_what_triton_keeps() -> None:
    names = ("sparse_cross_modal_block", "sparse_cross_modal_block_backward")
    for one in schemas.signatures():
        if one.name in names:
            assert "int selection" in one.schema
            assert "bool scales, bool learns" in one.kernel_schema
            assert "rulebook" not in one.kernel_schema
    forward, backward = (one for one in schemas.signatures() if one.name in names)
    assert (len(forward.arguments), len(backward.arguments)) == (29, 37)
    assert forward.schema.count("Tensor") == forward.kernel_schema.count("Tensor") + 1


def test_the_header_needs_no_torch_and_holds_every_schema(tmp_path: Path) -> None:
    """The script runs as in a build: without any package, here in a folder of its own."""
    command = [sys.executable, "-I", "-S", str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == schemas.header()
    arrays = dict(re.findall(r"char\* (\w+)\[\] = \{\n(.*?)\n\};", done.stdout, re.DOTALL))
    found = {name: re.findall(r'^    "(.*)",$', body, re.M) for name, body in arrays.items()}
    every = schemas.signatures()
    assert found == {
        "kOpSchemas": [one.schema for one in every],
        "kKernelSchemas": [one.kernel_schema for one in every],
        "kCpuSchemas": list(schemas.CPU_ONLY),
        "kCudaSchemas": list(schemas.CUDA_ONLY),
    }
    for schema in (text for texts in found.values() for text in texts):
        torch._C.parse_schema(schema)


def test_the_header_compiles(tmp_path: Path) -> None:
    header, source = tmp_path / "op_schemas.h", tmp_path / "use.cpp"
    header.write_text(schemas.header())
    source.write_text(
        '#include "op_schemas.h"\n'
        "constexpr unsigned long ops = sizeof(mesm_ops::kOpSchemas) / sizeof(const char*);\n"
        f"static_assert(ops == {len(backends.ops())});\n"
    )
    command = [sys.executable, "-m", "ziglang", "c++", "-std=c++20", "-Wall", "-Werror"]
    subprocess.run([*command, "-c", str(source), "-o", str(tmp_path / "use.o")], check=True)


@pytest.mark.parametrize(
    ("annotation", "returned"), [("list[Tensor]", "Tensor"), ("Tensor", "dict")]
)
def test_an_annotation_without_a_schema_type_is_refused(
    tmp_path: Path, annotation: str, returned: str
) -> None:
    text = f"class Op(NamedTuple):\n    x: {annotation}\ndef op(a: Op) -> {returned}: ...\n"
    (tmp_path / "op.py").write_text(text + text.replace("def op(", "def op_backward("))
    wanted = r"op: annotations must be among Tensor, Tensor \| None, .*, got (list\[Tensor\]|dict);"
    with pytest.raises(ValueError, match=wanted):
        schemas.header(tmp_path)
