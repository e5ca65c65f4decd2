"""What a deployed bundle is run with, where there is no toolchain.

python -m millstream_runtime stream kws.mill < frames > outputs     # see `rows`
python -m millstream_runtime serve kws.mill unix:/run/kws.sock      # see `serve`
python -m millstream_runtime trial kws.mill --frames 2000           # JSON; see `trial`
"""

from __future__ import annotations

import argparse
import sys

from millstream_runtime import bundle, model, strict_json
from millstream_runtime.errors import MillstreamError
from millstream_runtime.pipe import stream_through
from millstream_runtime.serve import address, serve
from millstream_runtime.trial import trial


def main() -> int:
    """Run the command that `sys.argv` asks for; its exit code, as `errors` counts them."""
    given = _parser().parse_args()
    try:
        return given.run(given)
    except MillstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except (BrokenPipeError, KeyboardInterrupt):
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="millstream_runtime", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, run in (("stream", _stream), ("serve", _serve), ("trial", _trial)):
        command = commands.add_parser(name)
        command.add_argument("bundle")
        command.set_defaults(run=run)
        if name == "serve":
            command.add_argument("address", help="unix:PATH")
        if name == "trial":
            command.add_argument("--frames", type=int, default=2000)
    return parser


def _stream(given: argparse.Namespace) -> int:
    stream_through(model.load(given.bundle), sys.stdin.buffer, sys.stdout.buffer)
    return 0


def _serve(given: argparse.Namespace) -> int:
    path = address(given.address)
    serve(model.load(given.bundle), path)
    return 0


def _trial(given: argparse.Namespace) -> int:
    report = trial(bundle.read(given.bundle), given.frames)
    sys.stdout.buffer.write(strict_json.dumps(report))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
