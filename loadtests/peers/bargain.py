"""What the Python peers agree on: what an order is, who may place one, what is bought and told.

Imported by the peers' programs in their own environment: nothing of the service here.
"""

import asyncio
import base64
import hmac
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson
from pydantic import BaseModel, Field

_REPORT_PAUSES_SECONDS = (1, 2, 4)
_PREFIX = "whsec_"
_JSON = {"content-type": "application/json"}


class Order(BaseModel):
    """An order as a reseller sends it."""

    ref_id: str = Field(min_length=1, max_length=64)
    sku: str = Field(min_length=1, max_length=64)
    customer_number: str = Field(pattern=r"^[0-9]{8,15}$")
    outlet_id: str | None = Field(default=None, max_length=64)
    metadata: dict[str, str] = Field(default_factory=dict[str, str])


class Accepted(BaseModel):
    """What is answered to it."""

    id: str
    status: str = "accepted"


class Refused(Exception):
    """The dealer or the reseller's endpoint did not answer as agreed: to be tried again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    body: bytes


class Calls(Protocol):
    """An HTTP client with its pool."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send one request and read its answer."""
        ...


@dataclass(frozen=True, slots=True)
class Shop:
    """Where the dealer is, where reports go, and the resellers by number."""

    upstream_url: str
    receiver_url: str
    numbers: Mapping[str, int] = field(repr=False)
    """Of the resellers, by key."""
    secrets: tuple[bytes, ...] = field(repr=False)

    def identify(self, authorization: str) -> int | None:
        """The number of the reseller whose key came with a request; None: nobody's."""
        return self.numbers.get(authorization.removeprefix("Bearer "))

    async def fulfil(self, calls: Calls, reseller: int, order: Mapping[str, Any]) -> None:
        """Buy an order and report it. Raises Refused."""
        await self._report(calls, reseller, order, await self._buy(calls, order))

    async def _buy(self, calls: Calls, order: Mapping[str, Any]) -> str:
        """Buy it. Returns the serial number."""
        wanted = {
            "ref_id": order["ref_id"],
            "sku": order["sku"],
            "customer_number": order["customer_number"],
        }
        reply = await calls.post(f"{self.upstream_url}/purchases", orjson.dumps(wanted), _JSON)
        if reply.status != 200:  # noqa: PLR2004 - OK
            raise Refused(f"the dealer answered {reply.status}")
        return orjson.loads(reply.body)["serial_number"]

    async def _report(
        self, calls: Calls, reseller: int, order: Mapping[str, Any], serial_number: str
    ) -> None:
        """Report it, a few times over: the queue's own trying again would buy again."""
        event = {
            "type": "order.succeeded",
            "data": {**order, "status": "succeeded", "serial_number": serial_number},
        }
        body = orjson.dumps(event)
        headers = _JSON | self._signature(reseller, order["ref_id"], body)
        url = f"{self.receiver_url}/hooks/{reseller}"
        reply = await calls.post(url, body, headers)
        for pause_seconds in _REPORT_PAUSES_SECONDS:
            if reply.status < 300:  # noqa: PLR2004 - the class of what went well
                return
            await asyncio.sleep(pause_seconds)
            reply = await calls.post(url, body, headers)
        raise Refused(f"the reseller answered {reply.status}")

    def _signature(self, reseller: int, ref_id: str, body: bytes) -> dict[str, str]:
        """A webhook's headers, as Standard Webhooks asks for them."""
        stamp = str(int(time.time()))
        signed = f"{ref_id}.{stamp}.".encode() + body
        digest = base64.b64encode(hmac.digest(self.secrets[reseller], signed, "sha256")).decode()
        return {
            "webhook-id": ref_id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{digest}",
        }


def open_shop() -> Shop:
    """The shop that the environment names: `UPSTREAM_URL`, `RECEIVER_URL`, `RESELLERS` (a file)."""
    resellers = json.loads(Path(os.environ["RESELLERS"]).read_text())
    return Shop(
        os.environ["UPSTREAM_URL"],
        os.environ["RECEIVER_URL"],
        {each["key"]: number for number, each in enumerate(resellers)},
        tuple(base64.b64decode(each["secret"].removeprefix(_PREFIX)) for each in resellers),
    )
