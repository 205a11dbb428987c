"""Public environments, one row each: admitted or refused, practised, killed, resumed; steps/s raw and by a worker.

The environments are added to a running service, several at a time, as family files in its folder ``env.d``. The service
admits and practises them. Then its trainer is killed by SIGKILL, and the service must practise each family again
without losing a committed total. Afterwards the steps per second of each admitted environment are measured in a plain
loop and through a worker, in turns, with 32 copies.

Rows are stored in a file as they are finished, and a later call continues with the missing ones. An environment whose
package is not installed gets a row that says so, and is tried again by the next call.

Run: ``python -m benchmarks.public_environments [--only PATTERN] [--again] [--rows FILE] [--write] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.public_environments.catalogue import catalogue
from benchmarks.public_environments.page import summary, table, write_page
from benchmarks.public_environments.rows import Rows, measure

ROWS = Path("benchmarks/results/public_environments.json")
PAGE = Path("docs/lab/public-environments.md")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.public_environments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="PATTERN", default="", help="regular expression of entries or packages")
    parser.add_argument("--again", action="store_true", help="measure known rows again")
    parser.add_argument("--group", type=int, default=20, help="families that are added to one service")
    parser.add_argument("--limit-s", type=float, default=120.0, help="time for one environment, for each phase")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one round of one loop")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file of the rows")
    parser.add_argument("--write", action="store_true", help=f"write the table of all rows into {PAGE}")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the service is stopped too
    environments, rows = catalogue(), Rows(arguments.rows)
    chosen = [e for e in environments if re.search(arguments.only, f"{e.package.title} {e.entry}")]
    measure(chosen, rows, arguments)
    print(table(chosen, rows.by_name))
    print(summary(rows.by_name.values()))
    if arguments.write:
        write_page(PAGE, table(environments, rows.by_name))
    if arguments.json:
        kept = {e.name: asdict(rows.by_name[e.name]) for e in chosen if e.name in rows.by_name}
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
