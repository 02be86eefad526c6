"""What will go away: declared once, said in every answer, in the documentation and to operators.

A route takes its declaration as `**deprecated(…)`; a handler that meets a deprecated field in a
request calls `note`. The answer, a refusal too, then has `Deprecation` (RFC 9745), `Sunset` (RFC
8594) where an end is set, and a `Link` to what to do instead; and the use is counted by reseller,
so that operators see who still needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from fastapi import Depends, Request

from app.http.api import Caller, Parts
from app.metrics import Metrics
from app.storage.api_keys import KeyHolder

STATE = "deprecations"


@dataclass(frozen=True, slots=True)
class Deprecation:
    """A route or a field that will go away. `name` is for metrics, `link` an address to read."""

    name: str
    since: datetime
    link: str
    sunset: datetime | None = None
    """From then on it may be gone."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What an answer says of it; `Deprecation` first, then the link."""
        link = f'<{self.link}>; rel="deprecation"; type="text/html"'
        found = [("deprecation", f"@{int(self.since.timestamp())}"), ("link", link)]
        if self.sunset is not None:
            found.append(("sunset", format_datetime(self.sunset.astimezone(UTC), usegmt=True)))
        return [(name.encode(), value.encode()) for name, value in found]


def deprecated(deprecation: Deprecation) -> dict[str, Any]:
    """What a route is declared with."""

    def tell(request: Request, api: Parts, caller: Caller) -> None:
        note(deprecation, request.scope["state"], api.metrics, caller)

    return {"deprecated": True, "dependencies": [Depends(tell)]}


def note(
    deprecation: Deprecation, state: dict[str, Any], metrics: Metrics, caller: KeyHolder
) -> None:
    """Note a use: the answer will tell. `state` is that of the request's scope."""
    state.setdefault(STATE, []).append(deprecation)
    metrics.deprecated_use(deprecation.name, str(caller.reseller_id))


def headers_of(noted: Sequence[Deprecation]) -> list[tuple[bytes, bytes]]:
    """What an answer says of all that was noted. Where there are several, the first to go counts:
    `Deprecation` and `Sunset` may each stand there once."""
    first = min(noted, key=_end)
    links = [pair for each in noted if each is not first for pair in each.headers()[1:2]]
    return [*first.headers(), *links]


def _end(deprecation: Deprecation) -> tuple[bool, datetime]:
    sunset = deprecation.sunset
    return sunset is None, sunset or deprecation.since
