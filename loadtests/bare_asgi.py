"""The least that a Python web server can do for an order: read it, say 202, keep nothing.

What the service's HTTP side is held against; run as a process of its own, like the service:

    python -m loadtests.bare_asgi --port 0
"""

import argparse

import uvicorn

from app.cli.receiver import AnnouncedServer, Message, Receive, Send
from app.cli.serve import listen

_HOST = "127.0.0.1"
_ANSWER = b'{"id":"00000000-0000-7000-8000-000000000000","status":"accepted"}'
_START: Message = {
    "type": "http.response.start",
    "status": 202,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_ANSWER)).encode()),
    ],
}
_BODY: Message = {"type": "http.response.body", "body": _ANSWER}


async def accept(scope: Message, receive: Receive, send: Send) -> None:
    """Answer any request with 202, once its body is here."""
    while (await receive()).get("more_body", False):
        pass
    await send(_START)
    await send(_BODY)


def main() -> None:
    """Serve on 127.0.0.1 until SIGTERM; prints its address as one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bare_asgi", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    config = uvicorn.Config(
        accept,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    AnnouncedServer(config).run(sockets=[listen(_HOST, parser.parse_args().port)])


if __name__ == "__main__":
    main()
