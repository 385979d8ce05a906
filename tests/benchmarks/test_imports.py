"""Imports inside `benchmarks` run one way, those inside functions included."""

from __future__ import annotations

import ast

from benchmarks.environment import ROOT


def modules() -> dict[str, set[str]]:
    """Each module with those of its package that it imports, anywhere in its file."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "benchmarks").rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found[name] = {other for other in wanted if other in paths} - {name, "benchmarks"}
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    left = modules()
    assert len(left) > 30
    while left:
        free = {name for name, wanted in left.items() if not wanted & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]


def test_what_is_shared_imports_no_package_that_shares_it() -> None:
    for name, wanted in modules().items():
        if name.count(".") == 1:
            inner = {other for other in wanted if other.count(".") > 1}
            assert not inner, f"{name} imports {inner}"
