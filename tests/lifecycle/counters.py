"""Dealers behind real sockets that say what a test wrote for them, and remember what they heard."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.outbound.peers import Conversation, Peer, listening


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    raw: bytes

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def query(self) -> dict[str, str]:
        target = self.raw.split(b" ", 2)[1].decode()
        return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}

    @property
    def is_check(self) -> bool:
        return self.query.get("check") == "1"

    # ---- answers of an OtomaX center

    def _stored(self, sentence: str) -> bytes:
        query = self.query
        head = f"T#17 R#{query['refID']} {query['product']}.{query['dest']}"
        return f"{head} {sentence}".encode()

    def sukses(self) -> bytes:
        """Success."""
        return self._stored("SUKSES. SN: 0123. Harga 5.000. Saldo 1.000.000")

    def diproses(self) -> bytes:
        """Will be processed."""
        return self._stored("akan diproses")

    def gagal(self) -> bytes:
        """Failed after it was created."""
        return self._stored("GAGAL. Produk gangguan")

    def refund(self) -> bytes:
        """Delivered once, and taken back."""
        return self._stored("REFUND. Saldo 1.000.000")

    def stok_kosong(self) -> bytes:
        """Out of stock: nothing was created."""
        return f"R#{self.query['refID']} Stok kosong".encode()

    def tidak_ada_data(self) -> bytes:
        """No such reference."""
        return f"R#{self.query['refID']} Tidak ada data".encode()

    # ---- answers of Digiflazz

    def digiflazz(self, code: str, status: str) -> bytes:
        asked: dict[str, Any] = json.loads(self.body)
        data = {name: asked[name] for name in ("ref_id", "customer_no", "buyer_sku_code")}
        return json.dumps({"data": {**data, "rc": code, "status": status}}).encode()


Reply = Callable[[Asked], Awaitable[bytes | None]]
"""What to answer; None cuts the connection."""


def always(answer: Callable[[Asked], bytes | None]) -> Reply:
    """The same kind of answer every time."""

    async def reply(asked: Asked) -> bytes | None:
        return answer(asked)

    return reply


def cut(_asked: Asked) -> None:
    """The connection is cut after the request arrived."""


@asynccontextmanager
async def counter(reply: Reply) -> AsyncIterator[Peer]:
    """A dealer's counter; `requests` holds what was asked there."""

    async def converse(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            answer = await reply(Asked(conversation.peer.requests[-1]))
            if answer is None:
                return
            await conversation.answer(answer)

    async with listening(converse) as peer:
        yield peer


def asked(peer: Peer) -> list[Asked]:
    """What was asked, in order."""
    return [Asked(raw) for raw in peer.requests]


async def forever(_asked: Asked) -> bytes | None:
    """No answer at all."""
    await asyncio.get_running_loop().create_future()
    return None
