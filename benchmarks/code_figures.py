"""Figures of the code base: size, structure and language of a checkout.

Run: ``python -m benchmarks.code_figures [FOLDER]``. Compare two revisions by running it on a checkout of each
(``git worktree add FOLDER REVISION``). Only ``agent/``, ``envs/`` and ``memory/`` are counted; nothing is imported.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("agent", "envs", "memory")
MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 400
DUPLICATE_LINES = 6
_NOUN_CLAUSE = re.compile(r"(What|Who|Whose|How|Where|Which|Why)\b")
_THIN = re.compile(r"^[\s)\]},:]*$|^(import|from)\b|^#")


def figures(root: Path) -> dict[str, object]:
    """Return the figures of the packages below ``root``."""
    files = {path: path.read_text() for package in PACKAGES for path in sorted((root / package).rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in files.items()}
    functions = [node for tree in trees.values() for node in _functions(tree)]
    docstrings = [text for tree in trees.values() for text in _docstrings(tree)]
    return {
        "lines": {p: sum(t.count("\n") for f, t in files.items() if f.is_relative_to(root / p)) for p in PACKAGES},
        "modules": len(files),
        "loose modules in agent": sum(path.parent == root / "agent" for path in files),
        "import arrows between modules": len(_arrows(root, trees)),
        "functions": len(functions),
        f"functions over {MAX_FUNCTION_LINES} lines": sum(_length(node) > MAX_FUNCTION_LINES for node in functions),
        f"files over {MAX_FILE_LINES} lines": sum(text.count("\n") > MAX_FILE_LINES for text in files.values()),
        "docstrings": len(docstrings),
        "docstrings that begin with a noun clause": sum(bool(_NOUN_CLAUSE.match(text)) for text in docstrings),
        "docstrings that do not begin with a verb (ruff D401)": _num_d401(root),
        f"pairs of places that share {DUPLICATE_LINES} equal lines": _num_duplicates(files),
    }


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            text := ast.get_docstring(node)
        ):
            yield text


def _arrows(root: Path, trees: dict[Path, ast.Module]) -> set[tuple[str, str]]:
    """Return the pairs (importing module, imported module), imports inside functions included."""
    names = {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in trees}
    arrows = set()
    for name, path in names.items():
        for node in ast.walk(trees[path]):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    module = f"{node.module}.{alias.name}"
                    target = module if module in names else node.module
                    if target in names and target != name:
                        arrows.add((name, target))
    return arrows


def _num_d401(root: Path) -> int:
    """Return how many docstrings ruff's D401 reports."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "D401", "--output-format", "json"]
    done = subprocess.run(
        [*command, *(str(root / package) for package in PACKAGES)], capture_output=True, text=True, check=False
    )
    return len(json.loads(done.stdout))


def _num_duplicates(files: dict[Path, str]) -> int:
    """Return the number of pairs of files' places that share at least six equal lines; overlapping runs count once."""
    places = defaultdict(list)
    for path, text in files.items():
        lines = [line.strip() for line in text.splitlines()]
        kept = [(number, line) for number, line in enumerate(lines) if not _THIN.match(line)]
        for start in range(len(kept) - DUPLICATE_LINES + 1):
            run = tuple(line for _, line in kept[start : start + DUPLICATE_LINES])
            places[run].append((path, start))
    shared = {
        (*first, *second)
        for found in places.values()
        if 1 < len(found) <= 8
        for first, second in itertools.combinations(found, 2)
        if first[0] != second[0] or abs(first[1] - second[1]) >= DUPLICATE_LINES
    }
    return sum((a, i - 1, b, j - 1) not in shared for a, i, b, j in shared)


def main() -> None:
    """Print the figures of a checkout as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="the checkout (default: this folder)")
    print(json.dumps(figures(parser.parse_args().folder.absolute()), indent=2))


if __name__ == "__main__":
    main()
