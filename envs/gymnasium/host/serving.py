"""Handlers of the trainer's requests."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import io
import mmap
import os
import re
import resource
import sys
import time
from json import loads
from typing import Any, NoReturn

import gymnasium

from .actions import describe_action
from .attributes import fitting_attributes, set_attributes
from .channel import Channel
from .checks import check_environment
from .contract import ContractCheck
from .faults import EndOfRequestsError, NonsenseError, SpecError, StartError, UnsupportedError, fault
from .making import Maker
from .masks import step_as_masked
from .numbers import effective_numbers
from .observations import form_of
from .places import IMPORTING, raised_text, running_code
from .progress import Stage, report_calls
from .tasks import Tasks

OBJECT_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Part of the ``repr`` of a function in a space, such as MiniGrid's ``MissionSpace``."""


class Host:
    """The handlers of the trainer's requests."""

    def __init__(self, channel: Channel, memory_fd: int) -> None:
        self._channel = channel
        self._memory_fd = memory_fd

    def serve(self) -> None:
        """Answer requests until one fails or there are no more. Only the speed of steps matters.

        Raises:
            EndOfRequestsError: the trainer closed its end of the pipe.
        """
        request, stepped = self._channel.request, self._channel.stepped
        while True:
            line = request()
            if line == b"s":
                self._tasks.step()
                stepped(has_ends=self._tasks.has_ends)
            else:
                values = loads(line)
                answer = getattr(self, f"on_{values.pop('type')}")(**values)
                self._channel.answer(answer)

    def on_configure(self, configuration: dict[str, Any], first_task: dict[str, Any]) -> dict[str, Any]:
        """Apply the limits, make the first environment and return a description of it."""
        require_gymnasium()
        limit_process(configuration)
        sys.path[:0] = configuration["import_paths"]
        os.chdir(configuration["working_folder"])
        self._maker = Maker(configuration)
        self._configuration = configuration
        self._first_task = first_task
        env = self._maker(first_task["kwargs"])
        self._maker.take_registered(env)
        described = {
            "observation": form_of(env.observation_space, image_size=configuration.get("image_size", 0)).described,
            "action": describe_action(env.action_space),
        }
        fitting_attributes(env, first_task["attributes"])
        self._tasks = Tasks(self._maker, env, configuration)
        return {
            "entry": self._maker.entry,
            "spaces": described,
            "pid": os.getpid(),
            "max_episode_steps": self._tasks.limit,
            "reward_threshold": self._maker.reward_threshold,
            "frames_per_s": self._maker.rendering.frames_per_s,
        }

    def on_open(self, num_tasks: int, size: int, layout: dict[str, list[Any]]) -> dict[str, Any]:
        """Map the shared memory."""
        memory = mmap.mmap(self._memory_fd, size)
        memory.madvise(mmap.MADV_DONTFORK)  # a child that an environment forks must not write into it
        self._tasks.open(memory, num_tasks, layout)
        os.close(self._memory_fd)
        return {}

    def on_begin(self, tasks: list[dict[str, Any]], *, own_generators: bool = False) -> dict[str, Any]:
        """Begin tasks; answer with the digests of their contexts, if any task has one."""
        try:
            self._tasks.begin(tasks, own_generators=own_generators)
        except NonsenseError as error:
            raise NonsenseError(f"{error} It came from reset.") from error
        contexts = self._tasks.contexts
        answer: dict[str, Any] = {"contexts": contexts} if any(contexts) else {}
        return answer | ({"has_masks": True} if self._tasks.has_masks else {})

    def on_begin_row(self, row: int, task: dict[str, Any]) -> dict[str, Any]:
        """Begin another task in one row."""
        self._tasks.begin_row(row, task)
        return {"context": self._tasks.contexts[row], "has_masks": self._tasks.has_masks}

    def on_frames(self) -> dict[str, Any]:
        """Return the frames that were drawn since the last call."""
        return {"frames": self._maker.rendering.take()}

    def on_undone(self) -> dict[str, Any]:
        """Return the varied attributes that the last resets overwrote."""
        return {"undone": self._tasks.undone()}

    def on_check(self, within_s: float) -> dict[str, Any]:
        """Run Gymnasium's checker on a separate environment."""
        progress = self._tasks.progress
        progress.begin(Stage.MAKING, 0)
        env = self._maker(self._first_task["kwargs"])
        set_attributes(env, fitting_attributes(env, self._first_task["attributes"]))
        report_calls(env, progress, within_s=within_s)
        step_as_masked(env)
        checked = check_environment(env)
        with contextlib.suppress(Exception):  # the check of the contract tells of it
            self._maker.close(env)
        return checked

    def on_contract(self, max_steps: int, max_s: float, within_s: float) -> dict[str, Any]:
        """Check one task against the contract of an environment, with copies of its own."""
        check = ContractCheck(
            lambda: self._maker(self._first_task["kwargs"]),
            self._maker.close,
            task=self._first_task,
            limit=self._tasks.limit,
            progress=self._tasks.progress,
            max_steps=max_steps,
            max_s=max_s,
            within_s=within_s,
        )
        return check.check()

    def on_numbers(self, factor: float, within_s: float) -> dict[str, Any]:
        """Return the numbers among the environment's attributes that change what it does."""
        progress, end = self._tasks.progress, time.monotonic() + within_s

        def make() -> gymnasium.Env[Any, Any]:
            progress.begin(Stage.MAKING, 0)
            env = self._maker(self._first_task["kwargs"])
            report_calls(env, progress, within_s=end - time.monotonic())
            return env

        image_size = self._configuration.get("image_size", 0)
        return effective_numbers(make, self._maker.close, factor, image_size=image_size)

    def close(self) -> None:
        """Close the environments and run the exit handlers. Errors are ignored, because the process then exits."""
        maker = getattr(self, "_maker", None)
        if maker is not None:
            maker.close_all()
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()  # noqa: SLF001  (the only way to run them without waiting for threads)


def require_gymnasium() -> None:
    """Raise if Gymnasium is older than 1.0: its time limits and checks work otherwise.

    Raises:
        SpecError: it is.
    """
    if int(gymnasium.__version__.partition(".")[0]) < 1:
        found = f"{sys.executable} has gymnasium {gymnasium.__version__}, and a worker needs 1.0 or newer."
        raise SpecError(found, f"Upgrade it: {sys.executable} -m pip install --upgrade gymnasium.")


def limit_process(configuration: dict[str, Any]) -> None:
    """Limit the memory and the priority of this process; :mod:`envs.gymnasium.isolation` has limited the rest."""
    # The trainer checks resident memory at intervals; this limit stops a worker that grows faster.
    bound = configuration["data_limit_bytes"]
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))
    os.nice(configuration["nice"])


def _take_every_text() -> None:
    """Let an environment print characters that the locale's encoding lacks: that must not be a fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def serve(host: Host, channel: Channel) -> int:
    """Answer requests until there are no more or one fails; report a failure, and return the exit status.

    Raises:
        OSError: the trainer has exited.
    """
    try:
        host.serve()
    except EndOfRequestsError:
        return 0
    except NonsenseError as error:
        channel.answer(fault("nonsense", str(error)))
    except UnsupportedError as error:
        which, space, hint = error.args
        shown = OBJECT_ADDRESS.sub("", space)[:500]
        channel.answer({"fault": "unsupported", "found": f"the {which} {shown} is not supported.", "hint": hint})
    except SpecError as error:
        channel.answer(fault("spec", *error.args))
    except StartError as error:
        channel.answer(fault("raised", str(error)))
    except MemoryError as error:
        channel.answer(fault("over_memory", f"it ran out of the memory it is allowed ({str(error) or 'MemoryError'})."))
    except SystemExit as error:
        channel.answer(fault("exited", _exit_text(error)))
    except BaseException as error:  # noqa: BLE001  (the worker's boundary: everything is reported and ends the process)
        channel.answer(fault("raised", raised_text(error), place=running_code(error)))
    return 1


def _exit_text(error: SystemExit) -> str:
    """Return where an environment called ``sys.exit``, and what to do if its module is a program."""
    place = running_code(error)
    hint = ' What it does as a program belongs below `if __name__ == "__main__":`.' if IMPORTING in place else ""
    return f"it called sys.exit({error.code!r}) in {place}.{hint}"


def main() -> NoReturn:
    """Serve the trainer over the pipes and the memory whose descriptors are the arguments."""
    request_fd, answer_fd, memory_fd = (int(argument) for argument in sys.argv[1:4])
    for fd in (request_fd, answer_fd, memory_fd):
        os.set_inheritable(fd, False)  # noqa: FBT003
    _take_every_text()
    faulthandler.enable()
    channel = Channel(request_fd, answer_fd)
    # A child that an environment forks, and that returns from its code to here, must not answer for this process. It
    # ends without a message where it uses the shared memory or the pipes.
    os.register_at_fork(after_in_child=channel.close)
    os.register_at_fork(after_in_child=faulthandler.disable)
    host = Host(channel, memory_fd)
    status = 1
    with contextlib.suppress(OSError):
        status = serve(host, channel)
    if channel.is_closed:
        os._exit(status)
    # The trainer waits for a limited time, so this process does not wait for the threads of a user's environment.
    host.close()
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(status)
