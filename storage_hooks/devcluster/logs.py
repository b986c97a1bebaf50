"""Swift logs to syslog, or to UDP port 514 when there is none; here each process logs to its own standard error.

Named in the configuration as `log_custom_handlers`, which Swift calls for every logger that it sets up.
"""

import logging
import sys
from typing import Any


def to_stderr(
    conf: Any, name: str, log_to_console: bool, log_route: str, fmt: str, logger: logging.Logger, adapted_logger: Any
) -> None:
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
