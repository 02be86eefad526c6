"""A webhook receiver that costs little and believes nothing.

Every webhook's signature is checked against the secret of the endpoint that it came to, and its
order against the reseller who owns that endpoint. The load client asks here which orders have
been reported, and when. It shares no code with the side that signs. Run as a process of its own:

    python -m loadtests.receiver --port 0 --secrets FILE
"""

import argparse
import base64
import hmac
import json
import time
from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import orjson
import uvloop

from dealers.simulator.connection import Answer, Request, listen, on_wire, serve
from loadtests.orders import must_fail, read_reference

_PREFIX = "whsec_"
_TOLERANCE_SECONDS = 300
_HOOKS = b"/hooks/"
_NEWS = b"/news?"
_BINARY, _JSON = b"application/octet-stream", b"application/json"
_HEARD = Answer(b"HTTP/1.1 204 No Content\r\n\r\n")
_REFUSED = Answer(on_wire(b"", status=401))


class Rejected(Exception):
    """A webhook that must not have been sent. The message is the reason it is counted under."""


class Inbox:
    """Which orders have been reported, when, and what was wrong with anything else."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [base64.b64decode(each.removeprefix(_PREFIX)) for each in secrets]
        self._seen: set[int] = set()
        self._heard = array("d")
        self._repeated = 0
        self._rejected: dict[str, int] = {}

    def take(self, endpoint: int, headers: Mapping[bytes, bytes], body: bytes) -> bool:
        """Check one webhook and note its order. False: it was wrong, and is counted as such."""
        try:
            self._verify(self._keys[endpoint], headers, body)
            number = _order_number(endpoint, body)
        except Rejected as rejected:
            reason = str(rejected)
            self._rejected[reason] = self._rejected.get(reason, 0) + 1
            return False
        self.note(number)
        return True

    def note(self, number: int) -> None:
        """Note that an order was reported."""
        if number in self._seen:
            self._repeated += 1
        else:
            self._seen.add(number)
            self._heard.append(number)
            self._heard.append(time.monotonic())

    def news(self, after: int) -> bytes:
        """Orders reported since the first `after` ones: pairs of number and monotonic seconds."""
        return self._heard[2 * after :].tobytes()

    def counts(self) -> bytes:
        """How many orders were reported, how many webhooks came again, which were rejected."""
        return orjson.dumps(
            {
                "orders": len(self._seen),
                "repeated": self._repeated,
                "rejected": self._rejected,
            }
        )

    def _verify(self, key: bytes, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """The check that the Standard Webhooks specification asks of a receiver."""
        stamp = headers.get(b"webhook-timestamp", b"")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > _TOLERANCE_SECONDS:
            raise Rejected("timestamp")
        signed = b"%s.%s.%s" % (headers.get(b"webhook-id", b""), stamp, body)
        expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
        given = headers.get(b"webhook-signature", b"").split(b" ")
        if not any(hmac.compare_digest(expected, each) for each in given):
            raise Rejected("signature")


def _order_number(endpoint: int, body: bytes) -> int:
    """The number of the order that the webhook tells of, to its own buyer, as it had to end."""
    event = orjson.loads(body)
    order = event["data"]
    number, buyer = read_reference(order["ref_id"])
    if buyer != endpoint:
        raise Rejected("another reseller's order")
    end = "failed" if must_fail(order["customer_number"]) else "succeeded"
    if order["status"] != end or event["type"] != f"order.{end}":
        raise Rejected(event["type"])
    return number


def respond(inbox: Inbox, request: Request) -> Answer:
    """`POST /hooks/{endpoint}`, `GET /news?{after}`, `GET /counts`."""
    if request.target.startswith(_HOOKS):
        endpoint = int(request.target[len(_HOOKS) :])
        return _HEARD if inbox.take(endpoint, request.headers, request.body) else _REFUSED
    if request.target.startswith(_NEWS):
        after = int(request.target[len(_NEWS) :])
        return Answer(on_wire(inbox.news(after), _BINARY))
    return Answer(on_wire(inbox.counts(), _JSON))


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.receiver", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--secrets", type=Path, required=True, help="JSON: a secret an endpoint")
    arguments = parser.parse_args()
    inbox = Inbox(json.loads(arguments.secrets.read_text()))
    with listen(arguments.port) as listener:
        uvloop.run(serve(partial(respond, inbox), listener))


if __name__ == "__main__":
    main()
