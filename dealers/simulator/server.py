"""The simulator as a server: every dealer under its own path, and a window into the book.

A bare ASGI application, because it shares its machine with the load tests that it serves: a
routing framework would cost more than the purchase.
"""

import asyncio
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dealers.simulator.agenda import Agenda
from dealers.simulator.behaviour import Manner, plan_of
from dealers.simulator.book import Book, Purchase
from dealers.simulator.config import Config, ConfigError, Dealer, read_config
from dealers.simulator.dialect import NO_SUCH_PAGE, Desk, Incoming, Reply
from dealers.simulator.dialects import find_dialect
from dealers.simulator.sales import Sales, Served

_BODY_CAP_BYTES = 64 * 1024
_TOO_LARGE = Reply(b"Payload Too Large", status=413)
_HOST = "127.0.0.1"


class Simulator:
    """The ASGI application. Its lifespan runs the agenda and closes the book."""

    def __init__(self, config: Config, book: Book) -> None:
        self._desks = {dealer.dealer_id: _desk(dealer) for dealer in config.dealers}
        self._book = book
        self._timing = config.timing
        self._agenda = Agenda(book, self._desks, config.timing)
        self._sales = Sales(book, self._agenda, config.timing)
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        first, _, action = scope["path"][1:].partition("/")
        desk = self._desks.get(first)
        if desk is None:
            await _respond(send, self._view(first))
        else:
            await self._serve(desk, action, scope, receive, send)

    def hang_up(self) -> None:
        """Cut every connection whose answer is being held, so that the server can stop."""
        self._closing.set()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._agenda.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        self._book.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(
        self, desk: Desk, action: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        body = await _body(receive)
        if body is None:
            await _respond(send, _TOO_LARGE)
            return
        incoming = Incoming(scope["method"], action, scope["query_string"], body)
        served = self._sales.serve(desk, incoming)
        if served.manner is Manner.CUT or not await self._held(served):
            await _cut(scope, receive)
        else:
            await _respond(send, served.reply)

    async def _held(self, served: Served) -> bool:
        """Hold an answer for as long as its manner says. False: the server stops, do not send."""
        seconds = self._timing.before_answer(served.manner)
        if seconds <= 0:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return True
        return False

    def _view(self, name: str) -> Reply:
        match name:
            case "book":
                return _json([_delivery(p) for p in self._book if p.delivered_at is not None])
            case "agenda":
                items = [_item(purchase) for purchase in self._book.unfinished()]
                return _json({"pending": len(items), "items": items})
            case "purchases":
                return _json([_purchase(purchase) for purchase in self._book])
            case "livez":
                return _json({"status": "ok"})
            case _:
                return NO_SUCH_PAGE


class _GatheringTransport(asyncio.Transport):
    """Writes once what is written within one turn of the loop.

    uvicorn writes an answer's head and body apart. Two system calls, and two packets that wake the
    other side twice, cost more than the purchase.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 (asyncio's)
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def _flush(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()


class CuttableProtocol(HttpToolsProtocol):
    """Shows the application its transport, so that a connection can be cut without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(_GatheringTransport(transport))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope.setdefault("state", {})["transport"] = self.transport


class _Server(uvicorn.Server):
    """A server that says when it listens and does not wait for held answers when it stops."""

    def __init__(self, config: uvicorn.Config, simulator: Simulator, address: str) -> None:
        super().__init__(config)
        self._simulator = simulator
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(orjson.dumps({"listening": self._address}).decode() + "\n")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._simulator.hang_up()
        await super().shutdown(sockets)


def build_app(config: Config, state_dir: Path | None = None) -> Simulator:
    """The application with its book opened. Without a folder the book lives in memory only.

    Raises `ConfigError`, `UnknownDialect` and OSError.
    """
    book = Book(state_dir)
    orphans = {p.dealer_id for p in book.unfinished()} - {d.dealer_id for d in config.dealers}
    if orphans:
        raise ConfigError(f"the book has unfinished business at {', '.join(sorted(orphans))}")
    return Simulator(config, book)


def run(config_path: Path, port: int, state_dir: Path | None = None) -> None:
    """Serve on the loopback address until SIGTERM or SIGINT; port 0 takes a free one.

    Prints one JSON line with the address when it listens. Raises as `build_app` does.
    """
    simulator = build_app(read_config(config_path), state_dir)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        address = f"http://{_HOST}:{listener.getsockname()[1]}"
        # uvicorn raises the signal again once it has stopped; that end is a clean one.
        signal.signal(signal.SIGTERM, _leave)
        _Server(_uvicorn_config(simulator), simulator, address).run(sockets=[listener])


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _uvicorn_config(simulator: Simulator) -> uvicorn.Config:
    return uvicorn.Config(
        simulator,
        http=CuttableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        # Buyers keep connections; one closed under their hands would look like a cut.
        timeout_keep_alive=600,
        timeout_graceful_shutdown=2,
    )


def _desk(dealer: Dealer) -> Desk:
    dialect = find_dialect(dealer.protocol)
    missing = [name for name in dialect.CREDENTIALS if not dealer.credentials.get(name)]
    if missing:
        raise ConfigError(f"{dealer.dealer_id}: credentials lack {', '.join(missing)}")
    return Desk(dealer, dialect)


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None where it is longer than the cap."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _BODY_CAP_BYTES:
            return None
        if not message.get("more_body", False):
            return body


async def _respond(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", str(len(reply.body)).encode()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _cut(scope: Scope, receive: Receive) -> None:
    scope["state"]["transport"].abort()
    # uvicorn takes a return without an answer for a mistake until it has seen the disconnect.
    await receive()


def _json(content: object) -> Reply:
    return Reply(orjson.dumps(content), b"application/json")


def _delivery(purchase: Purchase) -> dict[str, object]:
    return {
        "dealer": purchase.dealer_id,
        "dealer_ref": purchase.dealer_ref,
        "customer_number": purchase.customer_number,
        "sku": purchase.sku,
        "delivered_at": _moment(purchase.delivered_at),
        "reversed_at": _moment(purchase.reversed_at),
    }


def _purchase(purchase: Purchase) -> dict[str, object]:
    return _delivery(purchase) | {
        "state": purchase.state,
        "reason": purchase.reason,
        "serial_number": purchase.serial_number,
        "price_rupiah": purchase.price_rupiah,
    }


def _item(purchase: Purchase) -> dict[str, object]:
    step = plan_of(purchase.digits).steps[purchase.step]
    return {
        "dealer": purchase.dealer_id,
        "dealer_ref": purchase.dealer_ref,
        "customer_number": purchase.customer_number,
        "change": step.change,
        "callback": step.tell,
        "due_at": _moment(purchase.due_at),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
