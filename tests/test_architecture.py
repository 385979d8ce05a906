"""Which package may import which, over the sources' syntax trees: nothing is executed."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Packages and modules of each root, from the lowest layer to the highest: a layer imports layers
# before it. Names in one string are one layer, whose members never import each other.
LAYERS = {
    "mesm": (
        *("runs", "config", "inputs", "corpora", "features", "data", "models"),
        *("evaluation", "training", "experiment", "tables", "plots", "analysis"),
        *("publishing", "inference", "exporting", "report", "web"),
        *("demo", "cli", "__main__"),
    ),
    "mesm_ops": (
        *(
            "eager extension frames reference",
            "all_sites backends maps_checks",
            "tensor_like",
            "sparse_feature_maps",
            "triton",
            "ops",
        ),
        *("layer parts", "norms", "explain modules tune", "onnx", "__main__"),
    ),
    "benchmarks": (
        *("dense environment kept measure report shapes", "inputs", "calls gate rivals"),
        *("models steps", "conftest test_block test_models test_rivals test_subm_conv2d"),
        *("floors scaling", "gpu gpu_check studies", "tables"),
    ),
}
# Roots whose imports of each other must resolve.
OWN = ("mesm", "mesm_ops", "benchmarks", "tests", "csrc", "setup")
COMPILED = ("mesm_ops._C",)
# Packages of this repository that a package must not import.
NEVER = {"mesm_ops": ("mesm", "benchmarks", "tests"), "mesm": ("benchmarks", "tests")}
MOST_MODULES_IN_THE_ROOT = 5


def modules(package: str, root: Path = ROOT) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@functools.cache
def surface(source: str) -> tuple[tuple[ast.Import | ast.ImportFrom, ...], frozenset[str]]:
    """A source's imports, in functions and for type checkers too; and the names it binds.

    Names count if bound at the top level, whatever `if`, `try` or `with` surrounds them.
    """
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = set()
    left: list[ast.AST] = list(tree.body)
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        else:
            left.extend(ast.iter_child_nodes(node))
    return tuple(imports), frozenset(names)


def imports(name: str, file: Path) -> Iterator[tuple[str, str]]:
    """Modules that a module imports anywhere, each with the name taken from it, or ""."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in surface(file.read_text(encoding="utf-8"))[0]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
            continue
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, base] if base else above)
        yield from ((base, alias.name) for alias in node.names)


def imported(name: str, file: Path) -> Iterator[str]:
    """Dotted names that a module imports anywhere.

    `from a import b` gives "a.b": whether b is a module, the caller knows.
    """
    for module, attribute in imports(name, file):
        yield f"{module}.{attribute}" if attribute else module


def graph(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Per module the modules of the same package that it imports."""
    known = modules(package, root)
    found = {}
    for name, file in known.items():
        targets = set()
        for target in imported(name, file):
            # A name that is no module is an attribute of one.
            module = target if target in known else target.rpartition(".")[0]
            if module in known and module != name:
                targets.add(module)
        found[name] = targets
    return found


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in turn; empty: there are none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(edges[name]):
            found = visit(target, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in edges if (found := visit(name, []))), [])


def upward(package: str, layers: tuple[str, ...], root: Path = ROOT) -> list[str]:
    """Imports of a higher layer by a lower one, or inside a layer, as "a imports b"."""
    level = {name: i for i, layer in enumerate(layers) for name in layer.split()}
    found = []
    for name, targets in graph(package, root).items():
        for target in targets:
            if "." not in name or "." not in target:
                continue
            one, other = name.split(".")[1], target.split(".")[1]
            if one != other and level[other] >= level[one]:
                found.append(f"{name} imports {target}")
    return found


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the repository by its dotted name."""
    found = {file.stem: file for file in root.glob("*.py")}
    for folder in OWN:
        found |= modules(folder, root)
    return found


def unresolved(root: Path = ROOT) -> list[str]:
    """Imports of this repository's own modules or names that do not exist, as "a imports b"."""
    known = sources(root)
    # A folder without __init__.py is a module too, which binds nothing.
    folders = {
        ".".join(file.relative_to(root).parts[:depth])
        for file in known.values()
        for depth in range(1, len(file.relative_to(root).parts))
    }
    exists = known.keys() | folders | set(COMPILED)
    names = {module: surface(file.read_text(encoding="utf-8"))[1] for module, file in known.items()}
    found = []
    for name, file in known.items():
        for module, attribute in imports(name, file):
            if module.partition(".")[0] not in OWN:
                continue
            if module not in exists:
                found.append(f"{name} imports {module}")
            elif (
                attribute not in ("", "*")
                and f"{module}.{attribute}" not in exists
                and attribute not in names.get(module, ())
                and module not in COMPILED
            ):
                found.append(f"{name} imports {module}.{attribute}")
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_lower_packages_never_import_higher_ones(package: str) -> None:
    assert upward(package, LAYERS[package]) == []


@pytest.mark.parametrize("package", LAYERS)
def test_every_package_has_its_place(package: str) -> None:
    found = {name.split(".")[1] for name in modules(package) if "." in name}
    assert found == {name for layer in LAYERS[package] for name in layer.split()}


def test_every_import_of_own_modules_resolves() -> None:
    assert unresolved() == []


@pytest.mark.parametrize("package", LAYERS)
def test_there_is_no_circle_of_imports(package: str) -> None:
    assert circle(graph(package)) == []


@pytest.mark.parametrize("package", NEVER)
def test_libraries_do_not_import_what_uses_them(package: str) -> None:
    found = [
        f"{name} imports {target}"
        for name, file in modules(package).items()
        for target in imported(name, file)
        if target.partition(".")[0] in NEVER[package]
    ]
    assert found == []


def test_mesms_root_is_small() -> None:
    assert len(list((ROOT / "mesm").glob("*.py"))) <= MOST_MODULES_IN_THE_ROOT


def write(root: Path, **sources: str) -> None:
    for name, source in sources.items():
        file = root / "house" / f"{name.replace('__in__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)


@pytest.mark.parametrize(
    "source",
    [
        "from house.attic import roof\n",
        "import house.attic.roof\n",
        "from ..attic.roof import tiles\n",
        "def late():\n    from house.attic.roof import tiles\n",
    ],
)
def test_an_arrow_up_and_a_circle_are_found(tmp_path: Path, source: str) -> None:
    write(
        tmp_path,
        __init__="",
        cellar__in____init__="",
        attic__in____init__="",
        cellar__in__wine=source,
        attic__in__roof="tiles = 1\n",
    )
    layers = ("cellar", "attic")
    assert upward("house", layers, tmp_path) == ["house.cellar.wine imports house.attic.roof"]
    assert circle(graph("house", tmp_path)) == []
    write(tmp_path, attic__in__roof="from house.cellar import wine\n")
    assert len(circle(graph("house", tmp_path))) == 3


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("from mesm.sweep import sweep\n", "mesm.sweep"),
        ("import mesm.sweep\n", "mesm.sweep"),
        ("def late():\n    from mesm.analysis.sweep import sweeps\n", "mesm.analysis.sweep.sweeps"),
        ("from .analysis import swept\n", "mesm.analysis.swept"),
        ("from mesm_ops._D import facts\n", "mesm_ops._D"),
    ],
)
def test_a_stale_import_is_found(tmp_path: Path, source: str, target: str) -> None:
    files = {
        "mesm/__init__.py": "from mesm.analysis import sweep, sweep_all\n",
        "mesm/analysis/__init__.py": "try:\n    from .sweep import sweep as sweep_all\n"
        "except ImportError:\n    sweep_all = None\n",
        "mesm/analysis/sweep.py": "import mesm_ops._C\nif True:\n    sweep, p = 1, 2\n",
        "mesm_ops/__init__.py": "from mesm.analysis.sweep import p, sweep\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert unresolved(tmp_path) == []
    (tmp_path / "mesm/new.py").write_text(source)
    assert unresolved(tmp_path) == [f"mesm.new imports {target}"]


def test_members_of_one_layer_do_not_import_each_other(tmp_path: Path) -> None:
    write(tmp_path, __init__="", hall="from house import attic\n", attic="")
    assert upward("house", ("attic", "hall"), tmp_path) == []
    assert upward("house", ("attic hall",), tmp_path) == ["house.hall imports house.attic"]
