"""One module a protocol, found by its file name: a new dialect is one new file here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from dealers.simulator.dialect import Dialect

_NAMES = (
    "CREDENTIALS",
    "OPTIONAL_CREDENTIALS",
    "read",
    "refuse",
    "confirm",
    "recall",
    "callback",
)


class UnknownDialect(Exception):
    """No module speaks this protocol, or it lacks a name. The message says which."""


def names() -> list[str]:
    """Every protocol that is spoken here, in order."""
    return sorted(module.name for module in iter_modules(__path__) if module.name[0] != "_")


def find_dialect(protocol: str) -> Dialect:
    """The dialect that speaks a protocol. Raises `UnknownDialect`."""
    if protocol not in names():
        raise UnknownDialect(f"no dialect speaks {protocol!r}")
    module = import_module(f"{__name__}.{protocol}")
    missing = [name for name in _NAMES if not hasattr(module, name)]
    if missing:
        raise UnknownDialect(f"the dialect {protocol!r} lacks {', '.join(missing)}")
    return cast(Dialect, module)
