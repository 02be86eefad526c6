"""The simulated dealers as a server: each under its own path, and a window into the book."""

import socket
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from urllib.parse import unquote

import orjson
import uvloop

from dealers.simulator.agenda import Agenda
from dealers.simulator.behaviour import MEANINGS, Manner, plan_of
from dealers.simulator.book import Book, Purchase
from dealers.simulator.config import Config, ConfigError, Dealer
from dealers.simulator.connection import Answer, Request, listen, on_wire, serve
from dealers.simulator.dialect import NO_SUCH_PAGE, Desk, Incoming, Reply
from dealers.simulator.dialects import find_dialect
from dealers.simulator.market import Market
from dealers.simulator.sales import Sales

_INDEX = {
    "/dealers": "what each dealer sells now, and the account there; PATCH /dealers/{id} changes it",
    "/behaviours": "what the last two digits of a customer's number make a dealer do",
    "/book": "what was really delivered",
    "/agenda": "what the dealers will still do by themselves",
    "/purchases": "every purchase with its state, its reason, its price",
    "/livez": "whether the simulator answers",
}


class Simulator:
    """All simulated dealers, with one book and one agenda."""

    def __init__(self, config: Config, book: Book, state_dir: Path | None = None) -> None:
        desks = {dealer.dealer_id: _desk(dealer) for dealer in config.dealers}
        self._market = Market(desks, state_dir)
        self._book = book
        self._timing = config.timing
        self._agenda = Agenda(book, self._market.desks, config.timing)
        self._sales = Sales(book, self._agenda, self._market, config.timing)
        self._pages: dict[str, Callable[[], object]] = {
            "": lambda: _INDEX,
            "dealers": lambda: [_offer(desk.dealer) for desk in self._market.desks.values()],
            "behaviours": lambda: dict(MEANINGS),
            "book": lambda: [_delivery(p) for p in book if p.delivered_at is not None],
            "agenda": self._agenda_items,
            "purchases": lambda: [_purchase(purchase) for purchase in book],
            "livez": lambda: {"status": "ok"},
        }
        # The same waits in every run: what is shown once can be shown again.
        self._random = Random(0)  # noqa: S311 - waits, not secrets

    async def live(self, listener: socket.socket) -> None:
        """Do business until told to stop, then close the book."""
        async with self._agenda.running():
            await serve(self.respond, listener)
        self._book.close()

    def respond(self, request: Request) -> Answer | None:
        """Answer a buyer, or whoever looks through the window. None: cut the connection."""
        path, _, query = request.target.partition(b"?")
        first, _, action = unquote(path)[1:].partition("/")
        desk = self._market.desks.get(first)
        if desk is None:
            if request.method == "PATCH" and first == "dealers":
                return Answer(_wire(self._change(action, request.body)))
            return Answer(_wire(self._view(first)))
        incoming = Incoming(request.method, action, query, request.body, request.headers)
        served = self._sales.serve(desk, incoming)
        if served.manner is Manner.CUT:
            return None
        wait_seconds = self._timing.before_answer(served.manner)
        if desk.dealer.latency is not None:
            wait_seconds += desk.dealer.latency.sample(self._random)
        return Answer(_wire(served.reply), wait_seconds)

    def _change(self, dealer_id: str, body: bytes) -> Reply:
        if dealer_id not in self._market.desks:
            return NO_SUCH_PAGE
        try:
            return _json(_offer(self._market.change(dealer_id, orjson.loads(body))))
        except (orjson.JSONDecodeError, ConfigError) as error:
            return replace(_json({"error": str(error)}), status=422)

    def _view(self, name: str) -> Reply:
        page = self._pages.get(name)
        return NO_SUCH_PAGE if page is None else _json(page())

    def _agenda_items(self) -> dict[str, object]:
        items = [_item(purchase) for purchase in self._book.unfinished()]
        return {"pending": len(items), "items": items}


def build_app(config: Config, state_dir: Path | None = None) -> Simulator:
    """The simulator with its book opened. Without a folder the book lives in memory only.

    Raises `ConfigError`, `UnknownDialect` and OSError.
    """
    book = Book(state_dir)
    orphans = {p.dealer_id for p in book.unfinished()} - {d.dealer_id for d in config.dealers}
    if orphans:
        raise ConfigError(f"the book has unfinished business at {', '.join(sorted(orphans))}")
    return Simulator(config, book, state_dir)


def run(config: Config, port: int, state_dir: Path | None = None) -> None:
    """Serve on the loopback address until SIGTERM or SIGINT; port 0 takes a free one.

    Prints one JSON line with the address when it listens. Raises as `build_app` does.
    """
    simulator = build_app(config, state_dir)
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


def _offer(dealer: Dealer) -> dict[str, object]:
    """A dealer with its account: these are made up, and whoever tries it needs them."""
    return {
        "dealer_id": dealer.dealer_id,
        "protocol": dealer.protocol,
        "path": f"/{dealer.dealer_id}",
        "credentials": dict(dealer.credentials),
        "prices": dict(dealer.prices),
        "any_price": dealer.any_price,
        "stock": dict(dealer.stock),
        "latency": None if dealer.latency is None else asdict(dealer.latency),
        "always_succeeds": dealer.always_succeeds,
        "callback_url": dealer.callback_url,
    }


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
