"""What a confined process says when it fails: Python's own traceback opens source files, which would end it first."""

import os
import sys
import threading
from types import TracebackType
from typing import Final

_MOST: Final = 40  # frames


def words(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> str:
    """A traceback without the lines of source, in which nothing is looked up or imported."""
    frames = []
    while at is not None:
        code = at.tb_frame.f_code
        frames.append(f'  File "{code.co_filename}", line {at.tb_lineno}, in {code.co_name}\n')
        at = at.tb_next
    if len(frames) > _MOST:
        frames = [*frames[: _MOST // 2], f"  … {len(frames) - _MOST} more\n", *frames[-_MOST // 2 :]]
    cause = ""
    if error is not None and (before := error.__cause__ or error.__context__) is not None:
        cause = words(type(before), before, before.__traceback__)
    return f"{cause}Traceback (most recent call last):\n{''.join(frames)}{kind.__name__}: {error}\n"


def say(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    try:
        os.write(2, words(kind, error, at).encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody listens


def instead_of_tracebacks() -> None:
    """From here on, wherever Python itself would print one."""
    sys.excepthook = say
    threading.excepthook = lambda args: say(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: say(args.exc_type, args.exc_value, args.exc_traceback)
