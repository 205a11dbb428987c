"""What learning costs: processor time, workers' included, and the memory that an outer step takes at its peak."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import psutil
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from envs.family import FamilySource, FamilySpec


def processor_seconds() -> float:
    """Processor time of this thread.

    Torch does all its work in it where it may use one thread, and what others do meanwhile (the progress that somebody
    watches is drawn by one) is not learning.
    """
    return time.thread_time()


def processor_seconds_with_workers() -> float:
    """Processor time of this thread and of the environment workers started by this process that are still alive."""
    total = time.thread_time()
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def processor_seconds_of(spec: FamilySpec) -> float:
    """Processor time of what a family of environments is learned with: of its worker too, where it has one."""
    return processor_seconds() if spec.source is FamilySource.TENSOR else processor_seconds_with_workers()


def peak_bytes(step: Callable[[], object]) -> int:
    """The most bytes of tensors that a step holds at once, beside those that were there before.

    What an operation takes only while it runs (the workspace of a convolution) is not seen.
    """
    watch = _LiveTensors()
    with watch:
        step()
    return watch.peak_bytes


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make, from their making until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._live_bytes = 0
        self._followed: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        given = {_key(storage) for storage in _storages((args, kwargs))}
        results = func(*args, **kwargs)
        for storage in _storages(results):
            if _key(storage) not in given | self._followed:
                self._follow(storage)
        return results

    def _follow(self, storage: UntypedStorage) -> None:
        key, size = _key(storage), storage.nbytes()
        self._followed.add(key)
        self._live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        weakref.finalize(storage, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self._followed.discard(key)
        self._live_bytes -= size


def _storages(values: Any) -> Iterator[UntypedStorage]:
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            yield leaf.untyped_storage()


def _key(storage: UntypedStorage) -> int:
    return int(storage._cdata)  # noqa: SLF001  the one name that stays while the storage lives
