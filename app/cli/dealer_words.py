"""`jalur dealers read`: how Jalur reads a dealer's words, for who holds a puzzling one in hand."""

from typing import Annotated

import typer

from app.administration.dealer_words import (
    Reading,
    Subject,
    WordsKind,
    answer_from,
    callbacks_from,
    read_answer,
    read_callback,
)
from app.cli.dealers import (
    Credential,
    CredentialsFile,
    Option,
    credentials_given,
    dealer_limits,
    pairs,
)
from app.cli.terminal import Json, look, read_file, tell
from app.errors import ConfigurationError
from app.lifecycle.trade import access_to
from app.storage import reference
from dealers.contract import Account
from dealers.registry import Dialect, load

_MADE_UP = "made-up"
_LOWEST_STATUS, _HIGHEST_STATUS = 100, 599


def read_command(
    protocol: Annotated[str, typer.Argument(help="What the dealer speaks, such as otomax.")],
    file: Annotated[
        str,
        typer.Argument(
            help="What the dealer sent: a body alone, or with its status or request line and "
            "headers above; - is standard input."
        ),
    ],
    kind: Annotated[
        WordsKind, typer.Option(help="The answer to a purchase or a check, or a callback.")
    ] = WordsKind.ANSWER,
    http_status: Annotated[int, typer.Option(help="An answer's, where FILE has none.")] = 200,
    ref: Annotated[
        str | None, typer.Option(help="The purchase's reference; else the one that FILE names.")
    ] = None,
    number: Annotated[
        str | None, typer.Option(help="Its customer number, 08…; else the one that FILE names.")
    ] = None,
    sku: Annotated[str, typer.Option(help="Its code at the dealer.")] = "X",
    header: Annotated[
        list[str] | None, typer.Option(help="A callback's header, 'X-Hub-Signature: sha1=…'.")
    ] = None,
    dealer: Annotated[
        str | None, typer.Option(help="Read with the account of this dealer in the database.")
    ] = None,
    credential: Credential = None,
    credentials_file: CredentialsFile = None,
    option: Option = None,
    as_json: Json = False,
) -> None:
    """Show how Jalur reads a dealer's words, and what it would do. Nothing is called or changed."""
    dialect = load().get(protocol)
    if dialect is None:
        raise ConfigurationError(f"no protocol is called {protocol}; there are {', '.join(load())}")
    if not _LOWEST_STATUS <= http_status <= _HIGHEST_STATUS:
        raise ConfigurationError(f"--http-status must be like 200, not {http_status}")
    given = credentials_given(credential, credentials_file)
    account = (
        _made_up(dialect, given, pairs(option, "option"))
        if dealer is None
        else _account_of(dealer, protocol)
    )
    content = read_file(file)
    if kind is WordsKind.CALLBACK:
        reading = read_saved_callback(dialect, account, content, headers_given(header))
    else:
        answer = answer_from(content, http_status)
        reading = read_answer(dialect, account, kind, Subject(ref, number, sku), answer)
    tell(reading_document(protocol, kind, reading), reading_lines(reading), as_json=as_json)


def read_saved_callback(
    dialect: Dialect, account: Account, content: bytes, headers: dict[str, str]
) -> Reading:
    """What a saved callback says, in the first of the forms in which it is not refused."""
    readings = [
        read_callback(dialect, account, callback) for callback in callbacks_from(content, headers)
    ]
    return next((each for each in readings if each.refused is None), readings[0])


def _account_of(dealer_id: str, protocol: str) -> Account:
    for row in look(reference.dealers):
        if row.dealer_id == dealer_id:
            if row.protocol != protocol:
                raise ConfigurationError(f"dealer {dealer_id} speaks {row.protocol}")
            return access_to(row, dealer_limits()).account
    raise ConfigurationError(f"there is no dealer {dealer_id}; jalur dealers list shows them")


def _made_up(dialect: Dialect, credentials: dict[str, str], options: dict[str, str]) -> Account:
    needed = {setting.name: _MADE_UP for setting in dialect.credentials if setting.required}
    account = Account("dealer", "https://dealer.example", {**needed, **credentials}, options)
    faults = dialect.validate(account)
    if faults:
        raise ConfigurationError("; ".join(faults))
    return account


def headers_given(given: list[str] | None) -> dict[str, str]:
    """Headers on the command line. Raises ConfigurationError."""
    headers: dict[str, str] = {}
    for text in given or ():
        name, colon, value = text.partition(":")
        if not colon:
            raise ConfigurationError(f"--header must be 'Name: value', not {text!r}")
        headers[name.strip().lower()] = value.strip()
    return headers


def reading_document(protocol: str, kind: WordsKind, reading: Reading) -> dict[str, object]:
    """What was read, for `--json`."""
    report = reading.report
    return {
        "protocol": protocol,
        "kind": kind,
        "outcome": report.outcome,
        "code": report.code,
        "message": report.message,
        "fault": report.fault if report.outcome in {"rejected", "failed"} else None,
        "reference": reading.dealer_ref,
        "customer_number": reading.customer_number,
        "serial_number": report.serial_number,
        "price": report.price_rupiah,
        "reversal": report.reversal,
        "not_found": report.not_found,
        "verified": reading.verified,
        "refused": reading.refused,
        "would": {
            "while_open": reading.while_open,
            "after_success": reading.after_success,
            "after_failure": reading.after_failure,
        },
    }


def reading_lines(reading: Reading) -> list[str]:
    """What was read, for people."""
    report = reading.report
    faulty = report.outcome in {"rejected", "failed"}
    facts = {
        "refused": reading.refused,
        "outcome": f"{report.outcome}, the {report.fault}'s fault" if faulty else report.outcome,
        "dealer's code": report.code,
        "dealer's words": report.message,
        "our reference": reading.dealer_ref or "none that is ours",
        "number": reading.customer_number,
        "serial number": report.serial_number,
        "price": None if report.price_rupiah is None else f"Rp {report.price_rupiah:,}",
        "signature": _signature(reading),
        "reversal": "yes: an earlier success was paid back" if report.reversal else None,
        "not found": "yes: the dealer does not know the reference" if report.not_found else None,
    }
    lines = [f"{name + ':':16}{value}" for name, value in facts.items() if value]
    for situation, acts in (
        ("While the purchase is open, Jalur would", reading.while_open),
        ("Had it succeeded before", reading.after_success),
        ("Had it failed before", reading.after_failure),
    ):
        lines += [f"{situation}:", *(f"  - {act}" for act in acts or ("do nothing",))]
    return lines


def _signature(reading: Reading) -> str | None:
    if reading.verified is None or reading.refused is not None:
        return None
    return "held" if reading.verified else "none that could be checked"
