"""An import hook under which functions check the shapes of their tensors.

jaxtyping's own hook decorates every function. Most functions have no shape in their signature, and decorating those
takes longer than many tests. This hook decorates functions and dataclasses whose annotations contain a shape, each at
its first call.

The verdict of a check depends on shapes and types alone, so each combination of them is checked once for each function
(:func:`signature`). Arguments whose content decides as well are checked at every call.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.abc
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from enum import Enum
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

IMPORTS = "import tests.shape_checks as _shape_checks"
OF_FUNCTIONS, OF_CLASSES = "_shape_checks.checked", "_shape_checks.with_checked_fields"

MAX_ITEMS = 64
"""Lists, tuples and dictionaries with more items than this are checked at every call."""


class _NoSignatureError(Exception):
    """The verdict depends on more than what :func:`signature` tells of a value."""


def signature(value: Any) -> Hashable:
    """Return what the verdict on a value depends on: type, shape and dtype of arrays, types of all other values.

    Raises:
        _NoSignatureError: the value is iterable in an unknown way, or holds many items.
    """
    kind = type(value)
    signature_of = _SIGNATURES.get(kind)
    if signature_of is None:
        signature_of = _SIGNATURES[kind] = _signature_of_kind(kind)
    return signature_of(value)


def _of_array(array: Any) -> Hashable:
    return type(array), array.shape, array.dtype


def _of_sequence(values: Any) -> Hashable:
    if len(values) > MAX_ITEMS:
        raise _NoSignatureError
    return type(values), tuple([signature(value) for value in values])


def _of_mapping(values: Any) -> Hashable:
    if len(values) > MAX_ITEMS:
        raise _NoSignatureError
    return type(values), tuple([(key, signature(value)) for key, value in values.items()])


def _of_itself(value: Any) -> Hashable:
    return type(value), value


def _refuse(value: Any) -> Hashable:
    raise _NoSignatureError


_SIGNATURES: dict[type, Callable[[Any], Hashable]] = {int: type, float: type, bytes: type, range: type}
"""The function that returns the signature of values of a type, for all types that were met."""


def _signature_of_kind(kind: type) -> Callable[[Any], Hashable]:
    if hasattr(kind, "shape") and hasattr(kind, "dtype"):
        return _of_array
    if issubclass(kind, tuple | list):
        return _of_sequence
    if issubclass(kind, dict):
        return _of_mapping
    if issubclass(kind, str | bool | Enum | type):  # an annotation may name the allowed ones
        return _of_itself
    is_looked_into = issubclass(kind, Iterable) and not issubclass(kind, Iterator)
    return _refuse if is_looked_into else type


def checked(function: FunctionType) -> Callable[..., Any]:
    """Return the function with a check of its arguments and its result."""
    checks = _Checks(function)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        try:
            key = (
                tuple([signature(value) for value in arguments]),
                tuple([(name, signature(value)) for name, value in named.items()]) if named else (),
            )
        except _NoSignatureError:
            return checks.checked(*arguments, **named)
        known = checks.results.get(key)
        if known is None:
            result = checks.checked(*arguments, **named)
            known = checks.results[key] = set()
            checks.note(known, result)
            return result
        result = function(*arguments, **named)
        if not checks.is_known(known, result):
            checks.check_result(result, *arguments, **named)
            checks.note(known, result)
        return result

    return call


def with_checked_fields(cls: type) -> type:
    """Return a dataclass with a check of the fields that it is made with; any other class unchanged."""
    if dataclasses.is_dataclass(cls) and "__init__" in vars(cls):
        cls.__init__ = checked(cls.__init__)  # type: ignore[misc, arg-type]
    return cls


class _Checks:
    """The checks of one function by jaxtyping and beartype, and the signatures that passed.

    Args:
        function: the function.
    """

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        self._handed = threading.local()
        self.results: dict[Hashable, set[Hashable]] = {}
        """The signatures of results that passed, by the signatures of the arguments."""

    @functools.cached_property
    def checked(self) -> Callable[..., Any]:
        """The function under a complete check."""
        return _under_check(self._function)

    @functools.cached_property
    def _hand_back(self) -> Callable[..., Any]:
        """A function with the same annotations that returns the result that was handed to it, under a check."""
        handed = self._handed

        def hand_back(*_arguments: Any, **_named: Any) -> Any:
            return handed.result

        names = hand_back.__code__, self._function.__globals__, hand_back.__name__, None, hand_back.__closure__
        return _under_check(functools.wraps(self._function)(FunctionType(*names)))

    def check_result(self, result: Any, *arguments: Any, **named: Any) -> None:
        """Check a result together with its arguments."""
        self._handed.result = result
        try:
            self._hand_back(*arguments, **named)
        finally:
            del self._handed.result

    def note(self, known: set[Hashable], result: Any) -> None:
        """Note that a result passed."""
        try:
            known.add(signature(result))
        except _NoSignatureError:
            return

    def is_known(self, known: set[Hashable], result: Any) -> bool:
        """Return whether a result of this signature passed."""
        try:
            return signature(result) in known
        except _NoSignatureError:
            return False


def _under_check(function: Callable[..., Any]) -> Callable[..., Any]:
    import beartype
    import jaxtyping

    under_check: Callable[..., Any] = jaxtyping.jaxtyped(typechecker=beartype.beartype)(function)
    return under_check


class _Decorate(ast.NodeTransformer):
    """Decorate the functions and dataclasses whose annotations name one of jaxtyping's types."""

    def __init__(self, shape_types: set[str]) -> None:
        self._shape_types = shape_types

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        of_arguments = [child.annotation for child in ast.walk(node.args) if isinstance(child, ast.arg)]
        if self._has_shape(*of_arguments, node.returns):
            node.decorator_list.append(_expression(OF_FUNCTIONS))  # innermost: other decorators may drop annotations
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        fields = [child.annotation for child in node.body if isinstance(child, ast.AnnAssign)]
        if node.decorator_list and self._has_shape(*fields):
            node.decorator_list.insert(0, _expression(OF_CLASSES))  # outermost: after ``dataclass``
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


def _may_annotate_shapes(loader: SourceFileLoader) -> bool:
    """Return whether a module names jaxtyping. All others are loaded as usual, with cached bytecode."""
    return b"jaxtyping" in loader.get_data(loader.path)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self._packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader) and _may_annotate_shapes(spec.loader):
            spec.loader = ShapeCheckLoader(spec.loader.name, spec.loader.path)
        return spec


def install(packages: Sequence[str]) -> None:
    """Check shapes in all modules of the packages that are imported from now on."""
    sys.meta_path.insert(0, _Finder(packages))


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
