"""A block: named parts of bytes in one piece, which every process reads where it lies.

Layout: a line to know it by, a line of JSON (the parts' lengths and what its maker put there), then
each part at a multiple of eight. Numbers are little-endian.

A part may be an index: texts, found there by their hash, so that whoever opens a block of a million
texts need not read one of them.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal
from zlib import crc32

from routing.table import BadTable

Content = bytes | bytearray | memoryview
_ALIGNMENT = 8
_LINE_BYTES = 65_536
_HALF_BITS = 32
_HALF = 0xFFFFFFFF


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


def checksum_of(content: Content) -> str:
    """A block's checksum: SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def written_numbers(numbers: "array[int]") -> bytes:
    """Numbers as a part."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def read_numbers(part: memoryview, typecode: Literal["Q", "q"]) -> Sequence[int]:
    """A part as numbers, where it lies."""
    if sys.byteorder == "little":
        return part.cast(typecode)
    numbers = array(typecode, bytes(part))
    numbers.byteswap()
    return numbers


def written_index(numbers: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Texts in their order, each with a number, as two parts: the texts and the places of their
    hashes. The same texts and numbers give the same bytes.

    Raises `BadTable` for a text with a line end, and for numbers or texts beyond four gibibytes.
    """
    texts = bytearray(b"\n")
    # At most half full: a text that is not there is found missing after a step or two.
    slots = array("Q", bytes(8 << (2 * len(numbers)).bit_length()))
    mask = len(slots) - 1
    for text, number in numbers.items():
        line = _line(text)
        if line.index(b"\n") != len(line) - 1:
            raise BadTable(f"{text!r} has a line end")
        begins = len(texts)
        texts += line
        if begins > _HALF or not 0 <= number <= _HALF:
            raise BadTable("the table is larger than four gibibytes")
        place = crc32(line) & mask
        while slots[place]:
            place = (place + 1) & mask
        slots[place] = begins << _HALF_BITS | number
    return bytes(texts), written_numbers(slots)


def _line(text: str) -> bytes:
    # Half a surrogate is in no table, but may be asked for.
    return f"{text}\n".encode("utf-8", "surrogatepass")


class Index(Mapping[str, int]):
    """What `written_index` wrote, read where it lies: each text with its number, in their order.

    A slot holds where its text begins, in the upper half, and its number; 0 is an empty one. A text
    lies at the place of its hash, or the next that was free.
    """

    __slots__ = ("_mask", "_slots", "_texts")

    def __init__(self, texts: memoryview, slots: memoryview) -> None:
        """Read the two parts."""
        self._texts: Content = texts
        self._slots = read_numbers(slots, "Q")
        self._mask = len(self._slots) - 1

    def find(self, text: str) -> int | None:
        """The text's number; None where there is none."""
        line = _line(text)
        slots, texts, mask = self._slots, self._texts, self._mask
        length, place = len(line), crc32(line) & mask
        while slot := slots[place]:
            begins = slot >> _HALF_BITS
            if texts[begins : begins + length] == line and "\n" not in text:
                return slot & _HALF
            place = (place + 1) & mask
        return None

    def __getitem__(self, text: str) -> int:
        """The text's number. Raises KeyError."""
        number = self.find(text)
        if number is None:
            raise KeyError(text)
        return number

    def __contains__(self, text: object) -> bool:
        """Whether it is among them."""
        return isinstance(text, str) and self.find(text) is not None

    def __iter__(self) -> Iterator[str]:
        """The texts in their order."""
        return map(bytes.decode, bytes(self._texts).split(b"\n")[1:-1])

    def __len__(self) -> int:
        """How many there are."""
        return bytes(self._texts).count(b"\n") - 1


def _aligned(place: int) -> int:
    return place + -place % _ALIGNMENT
