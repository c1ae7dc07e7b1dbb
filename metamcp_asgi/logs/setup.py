"""Sets ``logging`` up: the levels, the console or JSON, the files. Everybody else writes to a logger of his own.

Lines that belong to a request have its id and that of its trace. JSON is structlog's work, which is imported only for
that: it would be a third of the time that a start takes.
"""

import logging
import sys
from typing import Final

from metamcp_asgi.asgi.request import ids
from metamcp_asgi.lines.secrets import hidden
from metamcp_asgi.logs.file import SharedFile
from metamcp_asgi.settings import Settings

__all__ = ["set_up"]

_NONE: Final = logging.CRITICAL + 1
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "none": _NONE}


def set_up(settings: Settings, *, several: bool = False) -> None:
    """Have log lines written as the settings say; what was set up before is replaced.

    Args:
        settings: Level, format and files.
        several: Whether lines for people tell which process has written them.

    Raises:
        ConfigError: The files cannot be written.
    """
    level = _LEVELS[settings.log_level]
    formatter = _json() if settings.log_format == "json" else _Console(several=several)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.log_folder is not None and level < _NONE:
        size, kept = settings.log_bytes, settings.log_files
        handlers.append(SharedFile(settings.log_folder / "app.log", size, kept))
        errors = SharedFile(settings.log_folder / "error.log", size, kept)
        errors.setLevel(logging.ERROR)
        handlers.append(errors)
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.setLevel(max(level, handler.level))
    logging.basicConfig(level=level, handlers=handlers, force=True)
    # The last lines, which are kept in memory, have what is worth to know whatever is written; see ``lines/``.
    logging.getLogger("metamcp").setLevel(min(level, logging.INFO))
    for name in ("metamcp.access", "metamcp.audit"):  # a line for each request is not kept
        logging.getLogger(name).setLevel(level)
    # Its line for every change in the folder would be a change in the folder when the log is kept there.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    # Tells at every step what it is made of; the store says in one line what was done.
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _Console(logging.Formatter):
    """Lines for people.

    Args:
        several: Whether the process is named.
    """

    def __init__(self, *, several: bool) -> None:
        process = "[%(process)d] " if several else ""
        super().__init__(f"%(asctime)s {process}%(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name in ``logging``
        """Return the line without a traceback, which comes below it."""
        line = super().formatMessage(record)
        if (found := ids()) is None:
            return line
        return f"{line} [request {found[0]}{f' trace {found[1]}' if found[1] else ''}]"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback if there is one."""
        return hidden(super().format(record))


def _json() -> logging.Formatter:
    """Return what makes a JSON object of each record."""
    import structlog
    from structlog.typing import EventDict, WrappedLogger

    def add_ids(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        if (found := ids()) is not None:
            event["request_id"] = found[0]
            if found[1]:
                event["trace_id"] = found[1]
        return event

    def add_process(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        event["process"] = event["_record"].process
        return event

    render = structlog.processors.JSONRenderer(ensure_ascii=False)

    def rendered(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return hidden(str(render(logger, name, event)))

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            add_process,
            add_ids,
            structlog.processors.format_exc_info,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendered],
    )
