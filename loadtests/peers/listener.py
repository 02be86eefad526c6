"""The load tests' receiver, which also hears Kannel: its reports are plain GETs that nobody signs.

python -m loadtests.peers.listener --port 0
"""

import argparse
from functools import partial

import uvloop

from dealers.simulator.connection import Answer, Request, listen, on_wire, serve
from loadtests.orders import read_reference
from loadtests.receiver import Inbox, respond

_REPORTS = b"/reports/"
_DELIVERED = b"?type=8"
_HEARD, _NOT_DELIVERED = Answer(on_wire(b"")), Answer(on_wire(b"not delivered", status=422))


def hear(inbox: Inbox, request: Request) -> Answer:
    """`GET /reports/{reference}?type=8`: the dealer took the order; else as the receiver."""
    if not request.target.startswith(_REPORTS):
        return respond(inbox, request)
    if not request.target.endswith(_DELIVERED):
        return _NOT_DELIVERED
    reference = request.target[len(_REPORTS) : -len(_DELIVERED)].decode()
    inbox.note(read_reference(reference)[0])
    return _HEARD


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.peers.listener", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    with listen(parser.parse_args().port) as listener:
        uvloop.run(serve(partial(hear, Inbox([])), listener))


if __name__ == "__main__":
    main()
