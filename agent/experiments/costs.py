"""The cost of learning: processor time, including that of workers, and the peak memory of an outer step."""

from __future__ import annotations

import resource
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
    """Return the processor time of this thread in seconds.

    With one torch thread, torch does all its work in this thread. The work of other threads is not learning; for
    example, one of them draws the progress bar.
    """
    return time.thread_time()


def processor_seconds_with_workers() -> float:
    """Return the processor time, in seconds, of this thread and of this process's environment workers.

    That of processes that have ended counts too: an environment may start one for each episode.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.thread_time() + ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def processor_seconds_of(spec: FamilySpec) -> float:
    """Return the processor time in seconds for learning a family, including its worker if it has one."""
    return processor_seconds() if spec.source is FamilySource.TENSOR else processor_seconds_with_workers()


def peak_bytes(step: Callable[[], object]) -> int:
    """Return the largest number of bytes of tensors that a step holds at once, without tensors from before the step.

    Memory that an operation uses only while it runs (the workspace of a convolution) is not counted.
    """
    watch = _LiveTensors()
    with watch:
        step()
    return watch.peak_bytes


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that counts the bytes of storages from their creation by an operation until they are freed."""

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
    return int(storage._cdata)  # noqa: SLF001  the only id that is constant until the storage is freed
