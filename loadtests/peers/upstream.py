"""A dealer of the least that will do, for peers that speak no dealer's protocol: it delivers
whatever it is asked for as often as it is asked, and keeps count. A process:

    python -m loadtests.peers.upstream --port 0 --answer-seconds 0.1
"""

import argparse
from array import array
from functools import partial
from urllib.parse import parse_qs

import orjson
import uvloop

from dealers.simulator.connection import Answer, Request, listen, on_wire, serve
from loadtests.orders import read_reference

_PURCHASES, _MESSAGES = b"/purchases", b"/messages?"
_BINARY, _JSON = b"application/octet-stream", b"application/json"
_SENT = on_wire(b"Sent")


class Book:
    """The numbers of the orders delivered, each as often as it was, in their order."""

    def __init__(self) -> None:
        self._delivered = array("q")

    def deliver(self, reference: str) -> str:
        """Deliver an order. Returns the serial number."""
        self._delivered.append(read_reference(reference)[0])
        return f"SN{len(self._delivered):012d}"

    def to_bytes(self) -> bytes:
        """All numbers, eight bytes each."""
        return self._delivered.tobytes()


def respond(book: Book, answer_seconds: float, request: Request) -> Answer:
    """`POST /purchases` buys, so does `GET /messages?text=SKU.CUSTOMER.REFERENCE`; `GET /book`."""
    if request.target == _PURCHASES:
        wanted = orjson.loads(request.body)
        number = book.deliver(wanted["ref_id"])
        sold = {"status": "succeeded", "ref_id": wanted["ref_id"], "serial_number": number}
        return Answer(on_wire(orjson.dumps(sold), _JSON), answer_seconds)
    if request.target.startswith(_MESSAGES):
        (text,) = parse_qs(request.target[len(_MESSAGES) :].decode())["text"]
        book.deliver(text.rpartition(".")[2])
        return Answer(_SENT, answer_seconds)
    return Answer(on_wire(book.to_bytes(), _BINARY))


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.peers.upstream", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--answer-seconds", type=float, default=0.0, help="it delivers before; 0")
    given = parser.parse_args()
    with listen(given.port) as listener:
        uvloop.run(serve(partial(respond, Book(), given.answer_seconds), listener))


if __name__ == "__main__":
    main()
