"""A real browser without a window: pages are served from a folder, and say what they found in one POST."""

from __future__ import annotations

import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_SECONDS = 60
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-sync", "--disable-component-update", "--disable-dev-shm-usage"),
)
#: A page's script ends with this: what it gives is posted, or why it failed.
_PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
let found;
try {{
  found = await (async () => {{ {script} }})();
}} catch (error) {{
  found = {{ error: String(error) }};
}}
await fetch("/found", {{ method: "POST", body: JSON.stringify(found) }});
</script>"""


def found_by(folder: Path, script: str, *flags: str) -> Any:
    """What the body of an asynchronous function returns in a page of `folder`, through JSON."""
    (folder / "test.html").write_text(_PAGE.format(script=script))
    answers: queue.Queue[bytes] = queue.Queue()
    with _served(folder, answers) as address, _chromium(f"{address}/test.html", flags):
        found = json.loads(answers.get(timeout=_SECONDS))
    if isinstance(found, dict) and "error" in found:
        raise AssertionError(found["error"])
    return found


@contextmanager
def _served(folder: Path, answers: queue.Queue[bytes]) -> Iterator[str]:
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, answers=answers, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def __init__(self, *arguments: Any, answers: queue.Queue[bytes], directory: str) -> None:
        self._answers = answers
        super().__init__(*arguments, directory=directory)

    def do_POST(self) -> None:
        self._answers.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def _chromium(address: str, flags: tuple[str, ...]) -> Iterator[None]:
    program = shutil.which("chromium")
    assert program, "chromium is missing: run .ci/tools"
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [
            program,
            *_QUIET,
            *flags,
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            address,
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield
        finally:
            # A browser is many processes; some outlive a polite request.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
