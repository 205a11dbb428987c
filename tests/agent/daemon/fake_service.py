"""``learnd run`` with the fake trainer: the real daemon process, which tests start and kill."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from agent.config.loading import load_settings
from agent.daemon import daemon
from agent.daemon.entry_point import run


class _Replaced:
    """A first finder that refuses to load any module that an upgrade of learnd's packages would replace."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        del path, target
        if name.partition(".")[0] not in sys.stdlib_module_names:
            raise ImportError(f"{name} was replaced by another version")
        return None


def _upgrade_when_ready() -> None:
    """Make the installed packages unavailable once the service is ready, as an upgrade would."""
    become_ready = daemon.Daemon._become_ready

    async def become_ready_and_vanish(self: Any, *arguments: Any) -> None:
        await become_ready(self, *arguments)
        await asyncio.sleep(0)
        sys.meta_path.insert(0, _Replaced())  # type: ignore[arg-type]

        def version(name: str) -> str:
            raise importlib.metadata.PackageNotFoundError(name)

        importlib.metadata.version = version  # type: ignore[assignment]

    daemon.Daemon._become_ready = become_ready_and_vanish  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--behaviour", default="good")
    parser.add_argument("--slice-s", default="0.1")
    parser.add_argument("--reference-behaviour", default="good")
    parser.add_argument("--for", dest="for_s", type=float)
    parser.add_argument("--new", action="store_true")
    parser.add_argument("--upgraded", action="store_true")
    arguments = parser.parse_args()
    if arguments.upgraded:
        _upgrade_when_ready()
    overrides = {"data_dir": arguments.data_dir, "service": {"listen": arguments.listen}}
    settings = load_settings(arguments.config, overrides)
    command = [sys.executable, "-m", "tests.agent.daemon.fake_learner", "--data-dir", str(arguments.data_dir)]
    command += ["--behaviour", arguments.behaviour, "--slice-s", arguments.slice_s]
    reference = [
        sys.executable,
        "-m",
        "tests.agent.daemon.fake_reference",
        "--behaviour",
        arguments.reference_behaviour,
    ]
    commands = {"trainer_command": command, "reference_command": reference}
    sys.exit(
        run(
            settings,
            stop_after_s=arguments.for_s,
            is_new=arguments.new,
            load_settings=lambda: load_settings(arguments.config, overrides),
            **commands,
        )
    )


if __name__ == "__main__":
    main()
