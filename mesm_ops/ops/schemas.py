"""The ops' schemas, made from the annotations of `mesm_ops/reference`.

    python mesm_ops/ops/schemas.py > op_schemas.h

Reads the sources as text and needs the standard library alone, so that a build can write the
header before torch or the extension can be imported.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

__all__ = [
    *("CPU_ONLY", "CUDA_ONLY", "SELECTION_PROPERTIES"),
    *("Signature", "header", "signature_of", "signatures"),
]

_REFERENCE = Path(__file__).parent.parent / "reference"
_TYPES = {
    "Tensor": "Tensor",
    "Tensor | None": "Tensor?",
    "TritonState": "Tensor",
    "Selection": "int",
    "int": "SymInt",
    "float": "float",
    "bool": "bool",
}
# The arguments of compiled kernels that stand for a selection.
SELECTION_PROPERTIES = ("scales", "learns")
# Functions of libmesm_ops beside the ops, for those who read videos.
CPU_ONLY = (
    "area_means(Tensor frames, Tensor boxes, int height, int width) -> Tensor",
    "mtcnn_pnet(Tensor images, Tensor conv1, Tensor bias1, Tensor slope1, Tensor conv2, "
    "Tensor bias2, Tensor slope2, Tensor conv3, Tensor bias3, Tensor slope3, Tensor face, "
    "Tensor face_bias, Tensor box, Tensor box_bias) -> (Tensor, Tensor)",
    "prelu_max_pool2d(Tensor maps, Tensor slopes, int window, int stride) -> Tensor",
)
# Functions of the CUDA library beside the ops, which Triton's launchers call.
CUDA_ONLY = (
    "place_scratch(Tensor sites, int frames, int height, int width) -> int",
    "select_and_place(Tensor features, Tensor sites, Tensor offsets, Tensor logits, int height, "
    "int width, float p, bool scales, Tensor(a!) attention, Tensor(b!) rows, "
    "Tensor(c!) kept_offsets, Tensor(d!) place, Tensor(e!) lists, Tensor(f!) masks, Tensor(g!) x, "
    "Tensor(h!) windows, Tensor(i!) window_of, Tensor(j!) out_sites, Tensor(k!) out_offsets, "
    "Tensor(l!) scratch) -> ()",
    "place(Tensor sites, Tensor offsets, int height, int width, bool positions, "
    "Tensor(a!) place_or_order, Tensor(b!) lists, Tensor(c!) masks, Tensor(d!) scratch) -> ()",
)


@dataclass(frozen=True)
class Signature:
    """The annotations of an op's arguments and results in its reference.

    Attributes:
        name: The op's name.
        arguments: The annotation of each argument, by name and in order.
        results: The annotation of each result, in order.
    """

    name: str
    arguments: Mapping[str, str]
    results: tuple[str, ...]

    @property
    def schema(self) -> str:
        """The schema of `mesm_ops::<name>`, such as "pool(Tensor features) -> Tensor"."""
        return _schema(self.name, self.arguments, self.results)

    @property
    def kernel_schema(self) -> str:
        """The schema of `mesm_ops_cpp::<name>` and `mesm_ops_cuda::<name>`.

        Compiled kernels neither take nor return Triton's state, and take the properties of the
        selection.
        """
        arguments: dict[str, str] = {}
        for name, kind in self.arguments.items():
            if kind == "Selection":
                arguments |= dict.fromkeys(SELECTION_PROPERTIES, "bool")
            elif kind != "TritonState":
                arguments[name] = kind
        results = tuple(kind for kind in self.results if kind != "TritonState")
        return _schema(self.name, arguments, results)


def signature_of(reference: Callable[[Any], Any]) -> Signature:
    """Return the signature of a function that takes a `NamedTuple`, and returns one or a tensor."""
    takes, returns = get_type_hints(reference).values()
    results = _annotations(returns) if issubclass(returns, tuple) else {"": returns.__name__}
    return Signature(reference.__name__, _annotations(takes), tuple(results.values()))


def _annotations(kind: type) -> dict[str, str]:
    hints: Mapping[str, Any] = kind.__annotations__
    return {name: getattr(hint, "__forward_arg__", hint) for name, hint in hints.items()}


def signatures(folder: Path = _REFERENCE) -> list[Signature]:
    """Return the signatures of all ops, read from the sources of their references."""
    found = []
    for file in sorted(folder.glob("[!_]*.py")):
        parts = ast.parse(file.read_text(encoding="utf-8")).body
        classes = {part.name: part for part in parts if isinstance(part, ast.ClassDef)}
        functions = {part.name: part for part in parts if isinstance(part, ast.FunctionDef)}
        for name in (file.stem, f"{file.stem}_backward"):
            function = functions[name]
            (argument,) = function.args.args
            takes, returns = (
                ast.unparse(part) for part in (argument.annotation, function.returns) if part
            )
            results = _fields(classes[returns]) if returns in classes else {"": returns}
            found.append(Signature(name, _fields(classes[takes]), tuple(results.values())))
    return found


def _fields(part: ast.ClassDef) -> dict[str, str]:
    return {
        field.target.id: ast.unparse(field.annotation)
        for field in part.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _schema(name: str, arguments: Mapping[str, str], results: tuple[str, ...]) -> str:
    try:
        taken = ", ".join(f"{_TYPES[kind]} {name}" for name, kind in arguments.items())
        returned = [_TYPES[kind] for kind in results]
    except KeyError as error:
        known = ", ".join(_TYPES)
        raise ValueError(
            f"{name}: annotations must be among {known}, got {error.args[0]}; "
            "a further one is made known in mesm_ops/ops/schemas.py"
        ) from error
    many = len(returned) != 1
    return f"{name}({taken}) -> {'(' * many}{', '.join(returned)}{')' * many}"


def header(folder: Path = _REFERENCE) -> str:
    """Return a C++ header with the schemas of all ops and kernels."""
    every = signatures(folder)
    return "\n".join(
        [
            "// Made by mesm_ops/ops/schemas.py from the annotations in mesm_ops/reference.",
            "#pragma once",
            "",
            "namespace mesm_ops {",
            *_array("mesm_ops: the ops.", "kOpSchemas", [one.schema for one in every]),
            *_array(
                "mesm_ops_cpp and mesm_ops_cuda: the compiled kernels.",
                "kKernelSchemas",
                [one.kernel_schema for one in every],
            ),
            *_array(
                "mesm_ops_cpp alone: what stands beside the ops.", "kCpuSchemas", list(CPU_ONLY)
            ),
            *_array(
                "mesm_ops_cuda alone: what stands beside the ops.", "kCudaSchemas", list(CUDA_ONLY)
            ),
            "",
            "}  // namespace mesm_ops",
            "",
        ]
    )


def _array(comment: str, name: str, schemas: list[str]) -> list[str]:
    literals = [f'    "{schema}",' for schema in schemas]
    head = f"inline constexpr const char* {name}[] = {{"
    return ["", f"// {comment}", head, *literals, "};"]


if __name__ == "__main__":
    sys.stdout.write(header())
