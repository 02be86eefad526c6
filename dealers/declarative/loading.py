"""The door to the engines: templates, patterns and paths take 60 ms and 10 MB to load.

Only a service with a described dealer pays for that, with the first description.
"""

import importlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dealers.declarative.compiled import Compiled


def compile_description(text: str) -> "Compiled":
    """Compile a description's JSON text, once. Raises DescriptionRefused with every fault."""
    return _compiler()(text)


@cache
def _compiler() -> "Callable[[str], Compiled]":
    return importlib.import_module("dealers.declarative.compiled").compile_description
