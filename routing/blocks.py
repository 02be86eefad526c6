"""A block: named parts of bytes in one piece, which every process reads where it lies.

Layout: a line to know it by, a line of JSON (the parts' lengths and what its maker put there), then
each part at a multiple of eight. Numbers are little-endian.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from routing.table import BadTable

Content = bytes | bytearray | memoryview
_ALIGNMENT = 8
_KEYS_A_STEP = 10_000
_LINE_BYTES = 65_536


def write_block(magic: bytes, head: Mapping[str, Any], parts: Mapping[str, Content]) -> bytes:
    """Put parts into one block. `magic` is a line with its end."""
    lengths = {name: len(part) for name, part in parts.items()}
    line = json.dumps({**head, "lengths": lengths}, separators=(",", ":")).encode()
    pieces: list[Content] = []
    for part in (magic + line + b"\n", *parts.values()):
        pieces += (part, bytes(-len(part) % _ALIGNMENT))
    return b"".join(pieces)


def read_block(magic: bytes, content: Content) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """The head and the parts. Raises `BadTable` for bytes that are no such block, or cut."""
    view = memoryview(content)
    if bytes(view[: len(magic)]) != magic:
        raise BadTable("these bytes are no compiled table of this version")
    try:
        line = _first_line(view[len(magic) :])
        head = json.loads(line)
        lengths: Mapping[str, int] = head["lengths"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadTable("these bytes are no compiled table") from error
    parts: dict[str, memoryview] = {}
    place = _aligned(len(magic) + len(line))
    for name, length in lengths.items():
        parts[name] = view[place : place + length]
        place = _aligned(place + length)
    if place != len(content):
        raise BadTable("the compiled table is cut")
    return head, parts


def _first_line(view: memoryview) -> bytes:
    """Up to its end, which is part of it. Raises ValueError without one."""
    size = _LINE_BYTES
    while (end := bytes(view[:size]).find(b"\n")) < 0:
        if size >= len(view):
            raise ValueError("no line")
        size *= 2
    return bytes(view[: end + 1])


def checksum_of(content: Content, expected: str | None) -> str:
    """A block's checksum. Raises `BadTable` where it is not the one expected."""
    checksum = hashlib.sha256(content).hexdigest()
    if expected is not None and checksum != expected:
        raise BadTable("these bytes are not what was compiled")
    return checksum


def written_numbers(numbers: "array[int]") -> bytes:
    """Numbers as a part."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def read_numbers(part: memoryview, typecode: Literal["I", "Q", "q"]) -> Sequence[int]:
    """A part as numbers, where it lies."""
    if sys.byteorder == "little":
        return part.cast(typecode)
    numbers = array(typecode, bytes(part))
    numbers.byteswap()
    return numbers


def written_lines(lines: Sequence[str]) -> bytes:
    """Texts without line ends as a part."""
    return "\n".join(lines).encode()


def read_index(part: memoryview, numbers: Sequence[int]) -> dict[str, int]:
    """Each line of a part with its number.

    It takes many small steps, so that another thread's event loop goes on meanwhile.
    """
    index: dict[str, int] = {}
    lines = bytes(part).split(b"\n") if len(part) else []
    for begin in range(0, len(lines), _KEYS_A_STEP):
        step = slice(begin, begin + _KEYS_A_STEP)
        index.update(zip(map(bytes.decode, lines[step]), numbers[step], strict=True))
    return index


def _aligned(place: int) -> int:
    return place + -place % _ALIGNMENT
