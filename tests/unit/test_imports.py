"""Who may import whom: contracts ← storage ← workers ← ops.cli, and nothing heavy for those who only need contracts."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contracts", "storage", "workers", "ops")
# Of ops: what those below it may use. A worker's shell also serves the health page.
TOOLS = ("ops.settings", "ops.metrics", "ops.logging", "ops.failpoint")
ALLOWED = {
    "contracts": ("contracts",),
    "storage": ("contracts", "storage", *TOOLS),
    "workers": ("contracts", "storage", "workers", *TOOLS, "ops.health"),
}
HEAVY = ("sqlalchemy", "asyncpg", "alembic", "faststream", "phonenumbers", "prometheus_client", "typer")


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(file): file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))}


def imported(module: str, *, at_start: bool = False) -> Iterator[tuple[str, int]]:
    """Our modules that a module imports, with the line; ``at_start``: only those that it needs to be imported itself."""
    tree = ast.parse(MODULES[module].read_text())
    for node in _at_start(tree) if at_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative"
            names = [
                full if (full := f"{node.module}.{alias.name}") in MODULES else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in PACKAGES:
                yield name, node.lineno


def _at_start(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if not is_typing and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _at_start(child)


@cache
def needs(module: str) -> frozenset[str]:
    return frozenset(name for name, _ in imported(module, at_start=True))


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package):
    wrong = [
        f"{module}:{line} imports {name}"
        for module in MODULES
        if within(module, (package,))
        for name, line in imported(module)
        if not within(name, ALLOWED[package])
    ]
    assert wrong == []


def test_the_workers_know_nothing_of_the_command_line():
    wrong = [
        f"{module}:{line} imports {name}"
        for module in MODULES
        if not within(module, ("ops.cli",))
        for name, line in imported(module)
        if within(name, ("ops.cli",))
    ]
    assert wrong == []


def test_what_everyone_uses_of_ops_needs_no_worker():
    reached, waiting = set(), list(TOOLS)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += needs(module)
    assert [module for module in reached if within(module, ("workers",))] == []


def test_no_module_needs_itself():
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above[above.index(module) :], module))
        if module not in done and module in MODULES:
            for name in needs(module) - {module}:
                visit(name, (*above, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_the_test_sees_what_is_wrong(monkeypatch, tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def late() -> None:\n    from workers import fleet\n")
    monkeypatch.setitem(MODULES, "storage.bad", file)
    with pytest.raises(AssertionError, match=r"storage\.bad:2 imports workers\.fleet"):
        test_imports_point_one_way("storage")


def test_the_contracts_are_slim():
    """An upstream service imports any of them with the base install alone."""
    names = sorted(module for module in MODULES if within(module, ("contracts",)))
    program = "; ".join([*(f"import {name}" for name in names), "import sys", "print(*sys.modules)"])
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "contracts.client" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert not [module for module in loaded if within(module, ("storage", "workers", "ops"))]


def test_the_base_install_has_none_of_the_heavy_ones():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = " ".join(project["dependencies"])
    for name in HEAVY:
        assert name.replace("_", "-") not in base
        assert name.replace("_", "-") in " ".join(project["optional-dependencies"]["workers"])
