"""Which package may import which, over the sources' syntax trees: nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the lowest to the highest: each imports those before it. The last ones are modules of the
# root, the others packages.
LAYERS = {
    "mesm": (
        *("config", "runs", "inputs", "corpora", "features", "data", "models"),
        *("evaluation", "training", "experiment", "tables", "plots", "analysis", "report"),
        *("demo", "cli", "__main__"),
    ),
}
PACKAGES = ("mesm", "mesm_ops")
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


def imported(name: str, file: Path) -> Iterator[str]:
    """Dotted names that a module imports anywhere, in functions and for type checkers too.

    `from a import b` gives "a.b": whether b is a module, the caller knows.
    """
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


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
    """Imports of a higher layer by a lower one, as "a imports b"."""

    def layer(name: str) -> str | None:
        return name.split(".")[1] if "." in name else None

    found = []
    for name, targets in graph(package, root).items():
        for target in targets:
            one, other = layer(name), layer(target)
            if one and other and layers.index(other) > layers.index(one):
                found.append(f"{name} imports {target}")
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_lower_packages_never_import_higher_ones(package: str) -> None:
    assert upward(package, LAYERS[package]) == []


@pytest.mark.parametrize("package", LAYERS)
def test_every_package_has_its_place(package: str) -> None:
    found = {name.split(".")[1] for name in modules(package) if "." in name}
    assert found == set(LAYERS[package])


@pytest.mark.parametrize("package", PACKAGES)
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
