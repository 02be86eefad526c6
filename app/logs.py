"""Logs: one line an event, JSON for machines or plain for people, fit to be kept.

Three rules hold for every line, whoever wrote it. A value under a telling name is censored. What
looks like a secret within a text (a password in an address or a query, a key, a callback's token)
is censored too. A phone number is masked wherever it stands, an error message of the database
included.

An order writes several lines, so a line must cost little: the searches of the last two rules run
only where a value, and then a cheap look, could be meant, and lines are written out together, those
of a tenth of a second at most. A warning is written out at once, with all before it. A log
that cannot be written (a full disk, a reader that went away) stops no order: the line is counted
as lost.
"""

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal, TextIO, TypeAlias, cast
from uuid import UUID

import orjson
import structlog

from routing.numbering import mask

Fields: TypeAlias = dict[str, Any]

_CENSORED = "[secret]"
_SECRET_NAME = re.compile(
    r"authori[sz]ation|secret|passw|api_?key|credential|token|cookie|signature|dsn"
    r"|^sign$|^pin$|^(?:database|redis)_url$",
    re.IGNORECASE,
)
_SECRET_TEXTS = (
    # What follows a telling name: in a query, a form, a connection string, JSON, a printed mapping,
    # a database's complaint about a key.
    re.compile(
        rb"((?:(?:secret|token|passw(?:or)?d|credential|api_?key|authori[sz]ation|signature)[a-z_]*"
        rb"|(?<![a-z_])(?:pin|pass|pwd|sign))"
        rb"\)?(?:\\*[\"'])?\s*(?:[=:]|%3D)\s*(?:\(|b?\\*[\"'])?(?:bearer |basic )?)"
        rb"[^&\s\"'\\,;})]+",
        re.IGNORECASE,
    ),
    re.compile(rb"(\b(?:bearer|basic) )[^\s\"'\\,]+", re.IGNORECASE),
    re.compile(rb"(://[^:/?#@\s\"\\]*:)[^\s\"\\]*(?=@)"),
    re.compile(rb"(/callbacks/[^/\s\"?\\]+/)[^\s\"?\\]+"),
    re.compile(rb"(jalur_[a-z]+_[a-z2-7]{12}_)[a-z2-7]+"),
    re.compile(rb"(whsec_)[A-Za-z0-9+/=_-]+"),
    re.compile(rb"(Failing row contains \()[^\"\\]+"),
)
_HINTS_OF_SECRETS = (
    b"=", b"'", b"\\", b": ", b"://", b"jalur_", b"whsec_", b"earer ", b"asic ", b"backs/", b"%3",
)  # fmt: skip
_PHONE_NUMBER = re.compile(
    # Behind an escape of JSON or of a query a letter or digit stands that is no part of the text.
    rb"(?:(?<![0-9A-Za-z])|(?<=\\[bfnrt])|(?<=\\u[0-9a-f]{4})|(?<=%[0-9A-Fa-f]{2}))"
    rb"(?:0|\+?62)8[0-9]{8,11}(?![0-9A-Za-z])"
)
_HINT_OF_A_NUMBER = re.compile(rb"8[0-9]{8}")
_SHORTEST_NUMBER = 800_000_000
"""No integer nearer to 0 is a phone number."""
_PLAIN = frozenset({bool, type(None), UUID, datetime})
_LONGEST_PLAIN = 64
_PLAIN_TEXT = re.compile(
    r"[a-z]{0,8}[0-9]{0,4}|(?:[A-Za-z]+[-.])*[A-Za-z]+|evt_[0-9a-f-]{36}|[0-9a-f]{32}"
)
_LONGEST_KEPT = 31
_SILENT = ("uvicorn.access", "asyncio", "httpx", "httpcore")
_TOGETHER_SECONDS = 0.1
_DUMP = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS

_bound: ContextVar[Mapping[str, str] | None] = ContextVar("bound", default=None)


def configure(
    log_format: Literal["json", "console"] = "json",
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the process, that of libraries included. `stream` is stdout by default."""
    text = stream or sys.stdout
    _lines.threshold = logging.getLevelNamesMapping()[level.upper()]
    _lines.render = _json if log_format == "json" else _console(colors=text.isatty())
    _lines.out = text.buffer
    structlog.configure(wrapper_class=_Logger, processors=[], cache_logger_on_first_use=True)
    _configure_libraries(_lines.threshold)


def bind(**ids: str) -> None:
    """Put these ids on every line of the current task, such as one request's."""
    _bound.set(ids)


def flush() -> None:
    """Write out what is still held back. A process that ends does it by itself, unless killed."""
    _lines.flush()


def lines_lost() -> int:
    """How many lines of this process could not be written."""
    return _lines.lost


# ------------------------------------------------------------------ what every line goes through


class _Lines:
    """Where lines go. Loggers made before `configure` write here as well."""

    def __init__(self) -> None:
        self.threshold = logging.INFO
        self.render: Callable[[Fields], bytes] = _json
        self.out: BinaryIO = sys.stdout.buffer
        self.lost = 0
        self._flushes_by = 0.0
        """Until when a flush is due on the loop, by the monotonic clock."""

    def write(self, level: int, event: str, fields: Fields) -> None:
        """Write one line. Never raises: what is logged about must go on."""
        fields["event"] = event
        fields, is_plain = _censored(fields)
        fields["level"] = _NAMES[level]
        bound = _bound.get()
        if bound is not None:
            fields.update(bound)
        fields["timestamp"] = datetime.now(UTC)  # noqa: TID251 - a line says when it was written
        line = self.render(fields)
        try:
            self.out.write((line if is_plain else _fit_to_keep(line)) + b"\n")
            self._flush_soon(at_once=level >= logging.WARNING)
        except (OSError, ValueError):
            self.lost += 1

    def flush(self) -> None:
        self._flushes_by = 0.0
        try:
            self.out.flush()
        except (OSError, ValueError):
            self.lost += 1

    def _flush_soon(self, *, at_once: bool) -> None:
        if not at_once and time.monotonic() < self._flushes_by:
            return  # asking for the running loop is a system call, too dear for each line
        loop = None if at_once else _running_loop()
        if loop is None:
            self.flush()
        else:
            self._flushes_by = time.monotonic() + _TOGETHER_SECONDS
            loop.call_later(_TOGETHER_SECONDS, self.flush)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _censored(fields: Fields) -> tuple[Fields, bool]:
    """The fields without the values whose name says that they are secret, at any depth; and whether
    none of the others can hold a secret or a phone number."""
    if "exc_info" in fields:
        fields = dict(structlog.processors.format_exc_info(None, "", fields))
    is_plain = True
    for name, value in fields.items():
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if _is_secret[name]:
            fields[name] = _CENSORED
        elif kind is str:
            is_plain = is_plain and _is_plain[value]
        elif kind is int:
            is_plain = is_plain and -_SHORTEST_NUMBER < value < _SHORTEST_NUMBER
        elif isinstance(value, str):
            is_plain = is_plain and _is_plain[value]
        elif kind not in _PLAIN and not isinstance(value, UUID):
            fields[name] = _fit(value)
            is_plain = False
    return fields, is_plain


def _fit(value: object) -> object:
    if isinstance(value, Mapping):
        inner = cast("Mapping[object, object]", value)
        return {
            key: _CENSORED if isinstance(key, str) and _is_secret[key] else _fit(each)
            for key, each in inner.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_fit(each) for each in cast("Sequence[object]", value)]
    return value


class _Secrecy(dict[str, bool]):
    """Whether a field's name says that its value is secret; each name is looked at once."""

    _MOST = 4096

    def __missing__(self, name: str) -> bool:
        found = _SECRET_NAME.search(name) is not None
        if len(self) < self._MOST:
            self[name] = found
        return found


_is_secret = _Secrecy()


class _Plainness(dict[str, bool]):
    """Whether a text is too plain to hold a secret or a phone number; those that are, kept."""

    _MOST = 4096

    def __missing__(self, text: str) -> bool:
        found = len(text) <= _LONGEST_PLAIN and _PLAIN_TEXT.fullmatch(text) is not None
        if found and len(text) <= _LONGEST_KEPT and len(self) < self._MOST:
            self[text] = found
        return found


_is_plain = _Plainness()


def _fit_to_keep(line: bytes) -> bytes:
    """The rendered line without secrets in its texts, and with its phone numbers masked."""
    for hint in _HINTS_OF_SECRETS:
        if hint in line:
            for secret in _SECRET_TEXTS:
                line = secret.sub(rb"\1" + _CENSORED.encode(), line)
            break
    if _HINT_OF_A_NUMBER.search(line):
        line = _PHONE_NUMBER.sub(lambda found: mask(found[0].decode()).encode(), line)
    return line


def mask_numbers(line: str) -> str:
    """Mask every phone number in a text: `081234567890` becomes `0812****7890`."""
    return _PHONE_NUMBER.sub(lambda found: mask(found[0].decode()).encode(), line.encode()).decode()


def _json(fields: Fields) -> bytes:
    try:
        return orjson.dumps(fields, str, _DUMP)
    except TypeError:
        # Lone surrogates and huge integers, which orjson refuses.
        return json.dumps(fields, default=str, ensure_ascii=False).encode(errors="backslashreplace")


def _console(*, colors: bool) -> Callable[[Fields], bytes]:
    render = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )

    def line(fields: Fields) -> bytes:
        fields["timestamp"] = fields["timestamp"].isoformat(timespec="milliseconds")
        shown = {
            name: str(value) if isinstance(value, UUID) else value for name, value in fields.items()
        }
        text = render(None, fields["level"], shown)
        return str(text).encode(errors="backslashreplace")

    return line


_NAMES = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "critical",
}
_lines = _Lines()


# ------------------------------------------------------------------ who writes


class _Logger(structlog.BoundLoggerBase):
    """structlog's logger, without its chain of processors in between."""

    def debug(self, event: str, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        self._write(logging.ERROR, event, {"exc_info": True, **fields})

    def _write(self, level: int, event: str, fields: Fields) -> None:
        if level >= _lines.threshold:
            _lines.write(level, event, {**self._context, **fields} if self._context else fields)


class _Library(logging.Handler):
    """Writes what libraries log, in our format."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: Fields = {"part": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        level = max(known for known in _NAMES if known <= max(record.levelno, logging.DEBUG))
        _lines.write(level, record.getMessage(), fields)


def _configure_libraries(threshold: int) -> None:
    logging.root.handlers[:] = [_Library()]
    logging.root.setLevel(max(threshold, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", *_SILENT):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)
