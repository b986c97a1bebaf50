"""Each process of a cluster logs to its own standard error, which is a file. Swift has to be told so.

It would log to syslog, or to UDP port 514 where there is none. `to_stderr` is named in the configuration as
`log_custom_handlers`, which Swift calls for every logger that it sets up.
"""

import logging
import sys
from pathlib import Path
from typing import Any, Final

TAIL: Final = 15  # lines


def to_stderr(
    conf: Any, name: str, log_to_console: bool, log_route: str, fmt: str, logger: logging.Logger, adapted_logger: Any
) -> None:
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logger.addHandler(handler)


def tail(path: Path, lines: int = TAIL) -> str:
    """The last lines of a log, or what to say instead of them."""
    try:
        text = path.read_text(errors="replace").strip()
    except OSError:
        return "(there is no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"
