"""Make the files of every runner, so that a benchmark with the same --folder only has to time them.

    python benchmarks/convert.py ABCDE --peers build/peers/bin/python --folder build/steps

Files that are there are kept: take another folder after a change of the code.
"""

from __future__ import annotations

from pathlib import Path

from options import add_peers, parser
from processes import RunnerFailed, converted
from rich.console import Console
from runners import RUNNERS


def main() -> None:
    made = parser(__doc__)
    add_peers(made)
    made.add_argument("--folder", type=Path, required=True, help="where the files go")
    arguments = made.parse_args()
    console = Console(width=150)
    for name in arguments.workloads:
        for runner in RUNNERS:
            with console.status(f"{name}: {runner.name}"):
                try:
                    converted(runner.python(arguments.peers), runner.convert, name, arguments.folder)
                except RunnerFailed as failure:
                    console.print(f"{name}: {runner.name}: {failure}", markup=False)


if __name__ == "__main__":
    main()
