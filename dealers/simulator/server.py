"""The simulated dealers as a server: each under its own path, and a window into the book."""

import socket
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import orjson
import uvloop

from dealers.simulator.agenda import Agenda
from dealers.simulator.behaviour import Manner, plan_of
from dealers.simulator.book import Book, Purchase
from dealers.simulator.config import Config, ConfigError, Dealer, read_config
from dealers.simulator.connection import Answer, Request, listen, on_wire, serve
from dealers.simulator.dialect import NO_SUCH_PAGE, Desk, Incoming, Reply
from dealers.simulator.dialects import find_dialect
from dealers.simulator.sales import Sales


class Simulator:
    """All simulated dealers, with one book and one agenda."""

    def __init__(self, config: Config, book: Book) -> None:
        self._desks = {dealer.dealer_id: _desk(dealer) for dealer in config.dealers}
        self._book = book
        self._timing = config.timing
        self._agenda = Agenda(book, self._desks, config.timing)
        self._sales = Sales(book, self._agenda, config.timing)

    async def live(self, listener: socket.socket) -> None:
        """Do business until told to stop, then close the book."""
        async with self._agenda.running():
            await serve(self.respond, listener)
        self._book.close()

    def respond(self, request: Request) -> Answer | None:
        """Answer a buyer, or whoever looks through the window. None: cut the connection."""
        path, _, query = request.target.partition(b"?")
        first, _, action = unquote(path)[1:].partition("/")
        desk = self._desks.get(first)
        if desk is None:
            return Answer(_wire(self._view(first)))
        incoming = Incoming(request.method, action, query, request.body, request.headers)
        served = self._sales.serve(desk, incoming)
        if served.manner is Manner.CUT:
            return None
        return Answer(_wire(served.reply), self._timing.before_answer(served.manner))

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


def build_app(config: Config, state_dir: Path | None = None) -> Simulator:
    """The simulator with its book opened. Without a folder the book lives in memory only.

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
    with listen(port) as listener:
        uvloop.run(simulator.live(listener))


def _desk(dealer: Dealer) -> Desk:
    dialect = find_dialect(dealer.protocol)
    missing = [name for name in dialect.CREDENTIALS if not dealer.credentials.get(name)]
    if missing:
        raise ConfigError(f"{dealer.dealer_id}: credentials lack {', '.join(missing)}")
    return Desk(dealer, dialect)


def _wire(reply: Reply) -> bytes:
    return on_wire(reply.body, reply.content_type, reply.status)


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
