"""Running code that is not ours: a factory, a model's step, an exporter that runs the model.

Such code may raise anything at all. This is the one place where everything is caught, and nothing is lost:
what was raised becomes one of our errors, with the original as its cause.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from millstream_runtime.errors import MillstreamError

T = TypeVar("T")


def guarded(run: Callable[[], T], refusal: Callable[[Exception], MillstreamError]) -> T:
    """What `run` returns; what it raises becomes `refusal(error)`, our own errors pass through."""
    try:
        return run()
    except MillstreamError:
        raise
    except Exception as error:
        raise refusal(error) from error


def reason(error: BaseException) -> str:
    """The innermost cause in a few lines: what a person needs of a long chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:600]}".removesuffix(": ")


def raised_at(error: BaseException) -> str:
    """`file:line` of the innermost line of an error that is neither torch's nor ours; empty when none is."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    lines = [line for each in chain for line in traceback.extract_tb(each.__traceback__)]
    inside = [i for i, line in enumerate(lines) if "/torch/" in line.filename]
    own = [line for line in lines[inside[0] :] if _is_foreign(line.filename)] if inside else []
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def _is_foreign(file: str) -> bool:
    return not any(part in file for part in _LIBRARIES)


_LIBRARIES = ("/torch/", "/millstream/", "<", "/lib/python")
