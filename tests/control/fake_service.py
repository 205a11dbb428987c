"""``learnd run`` with the fake learner: the real control process, to be started and killed by tests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.control.daemon import run
from agent.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--behaviour", default="good")
    parser.add_argument("--slice-s", default="0.1")
    parser.add_argument("--for", dest="for_s", type=float)
    parser.add_argument("--new", action="store_true")
    arguments = parser.parse_args()
    settings = load_settings(
        arguments.config, {"data_dir": arguments.data_dir, "service": {"listen": arguments.listen}}
    )
    command = [sys.executable, "-m", "tests.control.fake_learner", "--data-dir", str(arguments.data_dir)]
    command += ["--behaviour", arguments.behaviour, "--slice-s", arguments.slice_s]
    sys.exit(run(settings, stop_after_s=arguments.for_s, is_new=arguments.new, learner_command=command))


if __name__ == "__main__":
    main()
