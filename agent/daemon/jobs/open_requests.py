"""The requests for jobs that users have made and that are not answered yet."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from agent.daemon.jobs.runs import RunResult
from agent.daemon.scheduling.next_job import Work
from agent.daemon.store.retrying_writer import RetryingWriter
from agent.job_requests import requested_job
from memory.records import JobOutcome, Request

log = structlog.get_logger(__name__)

MAX_REQUEST_TRIES = 3
"""Number of runs of a request that may be interrupted before the request is answered."""


class OpenRequests:
    """The accepted requests whose jobs have not ended, in the order in which they were made.

    Args:
        store: the writer of the requests' answers.
    """

    def __init__(self, store: RetryingWriter) -> None:
        self._store = store
        self._work: list[Work] = []
        self._tries: dict[int, int] = {}

    @property
    def work(self) -> Sequence[Work]:
        """The jobs that were requested and have not ended."""
        return tuple(self._work)

    async def take(self) -> None:
        """Accept the new requests of the store, or refuse those that do not name a job."""
        for request in await self._store.call(lambda store: store.requests.take()):
            await self._accept(request)

    async def _accept(self, request: Request) -> None:
        try:
            kind, family = requested_job(request)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            refusal = f"refused: {error}"
            log.warning("request refused", request=request.id, reason=str(error))
            await self._store.call(lambda store: store.requests.finish(request.id, refusal))
            return
        log.info("request accepted", request=request.id, job=str(kind), family=family)
        self._work.append(Work(kind=kind, family=family, reason="requested", request_id=request.id))

    async def answer(self, work: Work, result: RunResult, *, is_stopping: bool) -> None:
        """Close the request of a run, unless the run was interrupted and can be tried again.

        Args:
            work: the job that ran; nothing is done if no one requested it.
            result: how it ended.
            is_stopping: whether the daemon stops; the next one then tries an interrupted run again.
        """
        request_id = work.request_id
        if request_id is None:
            return
        tries = self._tries.get(request_id, 0) + 1
        self._tries[request_id] = tries
        if result.outcome is JobOutcome.INTERRUPTED and (is_stopping or tries < MAX_REQUEST_TRIES):
            return
        self._work.remove(work)
        answer = f"{result.outcome}: {result.error}" if result.error else str(result.outcome)
        await self._store.write(lambda store: store.requests.finish(request_id, answer))
