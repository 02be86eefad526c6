"""Logs: one line an event, JSON for machines or plain for people, fit to be kept.

Two rules hold for every line, whoever wrote it: a secret under a telling name is censored, and a
phone number is masked wherever it stands, an error message of the database included.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from routing.numbering import mask

_CENSORED = "[secret]"
_SECRET_NAME = re.compile(
    r"authori[sz]ation|secret|passw|api_?key|credential|token|cookie|^sign$|signature",
    re.IGNORECASE,
)
_PHONE_NUMBER = re.compile(r"(?<![0-9A-Za-z])(?:0|\+?62)8[0-9]{8,11}(?![0-9A-Za-z])")
_SILENT = ("uvicorn.access", "asyncio", "httpx", "httpcore")


def configure(
    log_format: Literal["json", "console"] = "json",
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the process, that of libraries included. `stream` is stdout by default."""
    out = stream or sys.stdout
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer = _json if log_format == "json" else _console(colors=out.isatty())
    structlog.configure(
        processors=[*_processors(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(out.buffer),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(out, threshold, renderer)


def _processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        censor,
    ]


def censor(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace values whose name says that they are secret, at any depth."""
    return {name: _fit(name, value) for name, value in event.items()}


def _fit(name: object, value: object) -> object:
    if isinstance(name, str) and _is_secret(name):
        return _CENSORED
    if isinstance(value, Mapping):
        inner = cast("Mapping[object, object]", value)
        return {key: _fit(key, each) for key, each in inner.items()}
    if isinstance(value, list | tuple):
        return [_fit(None, each) for each in cast("Sequence[object]", value)]
    return value


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def mask_numbers(line: str) -> str:
    """Mask every phone number in a text: `081234567890` becomes `0812****7890`."""
    return _PHONE_NUMBER.sub(lambda found: mask(found[0]), line)


def _json(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> bytes:
    return mask_numbers(orjson.dumps(event, default=str).decode()).encode()


def _console(*, colors: bool) -> Processor:
    render = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )

    def masked(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> bytes:
        return mask_numbers(str(render(logger, method, event))).encode()

    return masked


class _Library(logging.Handler):
    """Writes what libraries log, in our format."""

    def __init__(self, out: TextIO, renderer: Processor) -> None:
        super().__init__()
        self._out = out.buffer
        self._processors = [*_processors(), renderer]

    def emit(self, record: logging.LogRecord) -> None:
        event: Any = {"event": record.getMessage(), "part": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        for process in self._processors:
            event = process(None, record.levelname.lower(), event)
        self._out.write(event + b"\n")
        self._out.flush()


def _configure_libraries(out: TextIO, threshold: int, renderer: Processor) -> None:
    logging.root.handlers[:] = [_Library(out, renderer)]
    logging.root.setLevel(max(threshold, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", *_SILENT):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)
