"""`jalur dealers`: where is bought."""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

import typer

from app.administration import dealers, documents, refusals
from app.administration.dealers import (
    DEFAULT_CONCURRENCY,
    DEFAULT_CONNECT_TIMEOUT_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    Changed,
    Edit,
    NewDealer,
    callback_path,
)
from app.administration.descriptions import description_text
from app.administration.operator import Operator
from app.administration.refusals import RefusedArea
from app.cli.terminal import Json, Reason, act, look, read_file, tell
from app.errors import ConfigurationError
from app.lifecycle.execute import Lease
from app.lifecycle.trade import DealerLimits
from app.sealing import Sealer
from app.settings import read_settings
from app.storage import processes, reference
from app.storage.pool import Connection, Pool
from app.storage.reference import DealerRow
from dealers.registry import load

dealers_app = typer.Typer(help="Dealers: where is bought.", no_args_is_help=True)

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

DealerId = Annotated[str, typer.Argument(metavar="DEALER", help="Its id.")]
Credential = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE of our account there; --credentials-file keeps it off the list."),
]
CredentialsFile = Annotated[
    str | None,
    typer.Option(help="A JSON object of credentials; - is standard input."),
]
CallbackFrom = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CIDR",
        help="A network that its callbacks come from, all others are refused; `any` takes them "
        "from anywhere.",
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        help="Requests a second, of all kinds, over all processes; 0: what its protocol knows."
    ),
]
Option = Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a setting, not secret.")]
DescriptionFile = Annotated[
    str | None,
    typer.Option(
        "--description", help="A file that describes it, for the protocol declarative: JSON, TOML."
    ),
]


@dealers_app.command("add")
def add_command(
    dealer: DealerId,
    name: Annotated[str, typer.Option(help="What people call it.")],
    owner_group: Annotated[
        str, typer.Option(help="Its owner; the monopoly rule counts dealers of one owner as one.")
    ],
    protocol: Annotated[str, typer.Option(help="What it speaks, such as otomax or digiflazz.")],
    base_url: Annotated[str, typer.Option(help="Where it is called.")],
    credential: Credential = None,
    credentials_file: CredentialsFile = None,
    option: Option = None,
    description: DescriptionFile = None,
    concurrency: Annotated[
        int, typer.Option(help="Requests under way at once, over all processes.")
    ] = DEFAULT_CONCURRENCY,
    timeout_seconds: Annotated[float, typer.Option()] = DEFAULT_TIMEOUT_SECONDS,
    connect_timeout_seconds: Annotated[float, typer.Option()] = DEFAULT_CONNECT_TIMEOUT_SECONDS,
    callback_from: CallbackFrom = None,
    rate: Rate = None,
    test: Annotated[
        bool, typer.Option("--test", help="A simulator, for orders placed with test keys only.")
    ] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Add a dealer; refused where it could not be called like this."""
    new = NewDealer(
        dealer,
        name,
        owner_group,
        protocol,
        base_url,
        credentials_given(credential, credentials_file),
        _options(option, description),
        concurrency,
        timeout_seconds,
        connect_timeout_seconds,
        _networks(callback_from) or (),
        rate,
        test,
    )
    row = act(lambda pool, by: dealers.add(pool, by, new, dealer_limits(), reason))
    begins = "sells every product to test keys" if row.test else "gets no orders without routes"
    lines = [
        f"{row.dealer_id} is added and {begins}.",
        f"Its callbacks go to your address and {callback_path(row)}, which is shown this once.",
        "Next: jalur routes apply FILE",
    ]
    tell(documents.dealer(row, with_callback=True), lines, as_json=as_json)


@dealers_app.command("set")
def set_command(
    dealer: DealerId,
    name: Annotated[str | None, typer.Option()] = None,
    owner_group: Annotated[str | None, typer.Option()] = None,
    protocol: Annotated[str | None, typer.Option()] = None,
    base_url: Annotated[str | None, typer.Option()] = None,
    credential: Credential = None,
    credentials_file: CredentialsFile = None,
    replace_credentials: Annotated[
        bool, typer.Option("--replace-credentials", help="Forget all others.")
    ] = False,
    option: Option = None,
    description: DescriptionFile = None,
    concurrency: Annotated[int | None, typer.Option()] = None,
    timeout_seconds: Annotated[float | None, typer.Option()] = None,
    connect_timeout_seconds: Annotated[float | None, typer.Option()] = None,
    callback_from: CallbackFrom = None,
    rate: Rate = None,
    renew_callback_token: Annotated[
        bool, typer.Option("--renew-callback-token", help="Have a new callback address.")
    ] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Change a dealer. Credentials and options are merged; NAME= takes one away."""
    edit = Edit(
        name,
        owner_group,
        protocol,
        base_url,
        credentials_given(credential, credentials_file),
        replace_credentials,
        _options(option, description),
        concurrency,
        timeout_seconds,
        connect_timeout_seconds,
        renew_callback_token,
        _networks(callback_from),
        rate,
    )
    done = act(lambda pool, by: dealers.change(pool, by, dealer, edit, dealer_limits(), reason))
    _tell(done, as_json=as_json, with_callback=renew_callback_token)


@dealers_app.command("list")
def list_command(as_json: Json = False) -> None:
    """All dealers, and whether is bought there."""
    found = look(reference.dealers)
    empty = ["There are no dealers. Next: jalur dealers add --help"]
    shown = {"dealers": [documents.dealer(row) for row in found]}
    tell(shown, [_line(row) for row in found] or empty, as_json=as_json)


@dealers_app.command("show")
def show_command(dealer: DealerId, as_json: Json = False) -> None:
    """One dealer, without its credentials, and what may be sent to it now."""
    document = look(lambda connection: _live(connection, dealer))
    tell(document, [f"{name}: {value}" for name, value in document.items()], as_json=as_json)


@dealers_app.command("pause")
def pause_command(dealer: DealerId, reason: Reason = "", as_json: Json = False) -> None:
    """Buy nothing there until `resume`; checks and callbacks go on."""
    _steer(lambda pool, by: dealers.pause(pool, by, dealer, reason), as_json=as_json)


@dealers_app.command("drain")
def drain_command(dealer: DealerId, reason: Reason = "", as_json: Json = False) -> None:
    """Buy nothing there any more and see through what is open, before leaving the dealer."""
    _steer(lambda pool, by: dealers.drain(pool, by, dealer, reason), as_json=as_json)


@dealers_app.command("resume")
def resume_command(dealer: DealerId, reason: Reason = "", as_json: Json = False) -> None:
    """End a pause or a draining; a mute goes on."""
    _steer(lambda pool, by: dealers.resume(pool, by, dealer, reason), as_json=as_json)


@dealers_app.command("mute")
def mute_command(
    dealer: DealerId,
    for_: Annotated[str | None, typer.Option("--for", help="How long: 90s, 30m, 2h, 1d.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Until when, with its offset: 2027-01-31T18:00+07:00.")
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Buy nothing there for a while; it goes on by itself afterwards."""
    now = datetime.now(UTC)
    end = _end(for_, until, now)
    _steer(lambda pool, by: dealers.mute(pool, by, dealer, end, now, reason), as_json=as_json)


@dealers_app.command("unmute")
def unmute_command(dealer: DealerId, reason: Reason = "", as_json: Json = False) -> None:
    """End a mute."""
    _steer(lambda pool, by: dealers.unmute(pool, by, dealer, reason), as_json=as_json)


@dealers_app.command("clusters")
def clusters_command(
    dealer: Annotated[str | None, typer.Argument(metavar="[DEALER]", help="Its id.")] = None,
    as_json: Json = False,
) -> None:
    """Clusters that dealers refused, and until when they are left out of them."""
    now = datetime.now(UTC)
    found = look(lambda connection: refusals.listed(connection, dealer, now))
    shown = {"clusters": [each.document() for each in found]}
    tell(shown, [_refused(each) for each in found] or ["Nothing was refused."], as_json=as_json)


@dealers_app.command("forget-clusters")
def forget_clusters_command(
    dealer: DealerId,
    brand: Annotated[str | None, typer.Option(help="Of this brand only.")] = None,
    cluster: Annotated[str | None, typer.Option(help="This cluster only.")] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Forget which clusters a dealer refused: it is asked there again, within seconds."""
    areas = act(lambda pool, by: refusals.forget(pool, by, dealer, brand, cluster, reason))
    forgotten = [{"brand": area.brand, "cluster": area.cluster} for area in areas]
    lines = [f"forgotten: {area.brand} {area.cluster}" for area in areas]
    tell({"forgotten": forgotten}, lines or ["There was nothing to forget."], as_json=as_json)


# ------------------------------------------------------------------ telling


def _refused(each: RefusedArea) -> str:
    told = "is asked still"
    if each.left_out_until is not None:
        told = f"left out until {each.left_out_until.isoformat(timespec='seconds')}"
    numbers = "1 number" if each.numbers == 1 else f"{each.numbers} numbers"
    return f"{each.dealer_id}  {each.brand} {each.cluster}: {numbers} refused, {told}"


def _steer(work: Callable[[Pool, Operator], Awaitable[Changed]], *, as_json: bool) -> None:
    _tell(act(work), as_json=as_json)


def _tell(done: Changed, *, as_json: bool, with_callback: bool = False) -> None:
    document = documents.dealer(done.dealer, with_callback=with_callback)
    lines = [_line(done.dealer)] if done.changed else ["Nothing changed.", _line(done.dealer)]
    if with_callback:
        lines.append(f"Its callbacks go to {callback_path(done.dealer)} from now on.")
    tell({**document, "changed": done.changed}, lines, as_json=as_json)


async def _live(connection: Connection, dealer_id: str) -> dict[str, Any]:
    row = await dealers.find(connection, dealer_id)
    return documents.live_dealer(row, await processes.living(connection))


def _line(row: DealerRow) -> str:
    return f"{row.dealer_id}  {row.name}: {row.protocol}, {_limits(row)}, {_state(row)}"


def _limits(row: DealerRow) -> str:
    at_once = f"{row.concurrency} at once"
    rate = row.requests_per_second
    return at_once if rate is None else f"{at_once}, {rate:g} a second"


def _state(row: DealerRow) -> str:
    states = [] if row.enabled else ["paused"]
    if row.drained:
        states.append("drained")
    if row.muted_until is not None and row.muted_until > datetime.now(UTC):
        states.append(f"muted until {row.muted_until.isoformat(timespec='seconds')}")
    return ", ".join(states) or "in use"


# ------------------------------------------------------------------ what was typed


def dealer_limits() -> DealerLimits:
    """What a dealer must fit to be called, by the service's settings."""
    settings = read_settings()
    longest_call_seconds = Lease(settings.lease_seconds).longest_call_seconds
    sealer = Sealer(settings.require_secret_keys())
    return DealerLimits(load(), sealer, longest_call_seconds, settings.simulator_url)


def _end(for_: str | None, until: str | None, now: datetime) -> datetime:
    if (for_ is None) == (until is None):
        raise ConfigurationError("give either --for 30m or --until 2027-01-31T18:00+07:00")
    if until is not None:
        try:
            return datetime.fromisoformat(until)
        except ValueError:
            raise ConfigurationError("--until must be like 2027-01-31T18:00+07:00") from None
    duration = _DURATION.fullmatch(for_ or "")
    if duration is None:
        raise ConfigurationError("--for must be a number and s, m, h or d, like 30m")
    return now + timedelta(**{_UNITS[duration[2]]: int(duration[1])})


def _networks(given: Sequence[str] | None) -> Sequence[str] | None:
    """The networks as a whole, none of them for `any`; None where none was given."""
    return None if given is None else [each for each in given if each != "any"]


def credentials_given(given: Sequence[str] | None, file: str | None) -> dict[str, str]:
    """The credentials on the command line and in a file, those on the line first."""
    return {**({} if file is None else _from_file(file)), **pairs(given, "credential")}


def _from_file(path: str) -> dict[str, str]:
    refusal = ConfigurationError(
        "--credentials-file must hold one JSON object of texts, such as "
        '{"memberID": "…", "pin": "…", "password": "…"}'
    )
    try:
        content: Any = json.loads(read_file(path))
    except ValueError:
        raise refusal from None
    if not isinstance(content, dict):
        raise refusal
    values = cast("dict[str, Any]", content)
    if not all(isinstance(value, str) for value in values.values()):
        raise refusal
    return values


def _options(given: Sequence[str] | None, description: str | None) -> dict[str, str]:
    options = pairs(given, "option")
    if description is not None:
        options["description"] = description_text(description, read_file(description))
    return options


def pairs(given: Sequence[str] | None, what: str) -> dict[str, str]:
    """Read NAME=VALUE texts. What stands behind the name is never quoted: it may be a secret."""
    pairs: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--{what} must be NAME=VALUE")
        pairs[name] = value
    return pairs
