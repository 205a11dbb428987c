"""An import hook under which functions check the shapes of their tensors at every call.

jaxtyping's own hook decorates every function. Most functions have no shape in their signature, and decorating those
takes longer than many tests. This hook decorates functions and dataclasses whose annotations contain a shape.
"""

from __future__ import annotations

import ast
import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

IMPORTS = "import beartype as _beartype, jaxtyping as _jaxtyping"
DECORATOR = "_jaxtyping.jaxtyped(typechecker=_beartype.beartype)"


class _Decorate(ast.NodeTransformer):
    """Decorate the functions and dataclasses whose annotations name one of jaxtyping's types."""

    def __init__(self, shape_types: set[str]) -> None:
        self._shape_types = shape_types

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        of_arguments = [child.annotation for child in ast.walk(node.args) if isinstance(child, ast.arg)]
        if self._has_shape(*of_arguments, node.returns):
            node.decorator_list.append(_expression(DECORATOR))  # innermost: other decorators may drop annotations
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        fields = [child.annotation for child in node.body if isinstance(child, ast.AnnAssign)]
        if node.decorator_list and self._has_shape(*fields):
            node.decorator_list.insert(0, _expression(DECORATOR))  # outermost: after ``dataclass``
        return node

    def _has_shape(self, *annotations: ast.expr | None) -> bool:
        return any(
            isinstance(child, ast.Name) and child.id in self._shape_types
            for annotation in annotations
            if annotation is not None
            for child in ast.walk(annotation)
        )


class ShapeCheckLoader(SourceFileLoader):
    """Loads a module and adds checks of the shapes that it annotates. Its bytecode is not cached."""

    def path_stats(self, path: Any) -> Any:
        """Raise OSError, which keeps ``importlib`` from reading and writing bytecode without the checks."""
        raise OSError(f"no cached bytecode for {path}")

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        """Compile a module with its checks."""
        tree = ast.parse(data, path)
        imported = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping"]
        shape_types = {alias.asname or alias.name for node in imported for alias in node.names}
        if shape_types:
            tree = _Decorate(shape_types).visit(tree)
            tree.body[tree.body.index(imported[0])] = [*ast.parse(IMPORTS).body, imported[0]]
            tree.body = [node for entry in tree.body for node in (entry if isinstance(entry, list) else [entry])]
            ast.fix_missing_locations(tree)
        code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)
        return code


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self._packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = ShapeCheckLoader(spec.loader.name, spec.loader.path)
        return spec


def install(packages: Sequence[str]) -> None:
    """Check shapes in all modules of the packages that are imported from now on."""
    sys.meta_path.insert(0, _Finder(packages))


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
