"""`jalur dealers check`: a dealer's description tried before it is saved."""

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.administration.dealer_words import Subject, WordsKind, answer_from, read_answer
from app.administration.descriptions import (
    PROTOCOL,
    SAMPLE_ADDRESS,
    Trial,
    description_text,
    try_description,
)
from app.cli.dealer_words import (
    headers_given,
    read_saved_callback,
    reading_document,
    reading_lines,
)
from app.cli.dealers import Credential, CredentialsFile, Option, credentials_given, pairs
from app.cli.terminal import Json, read_file, tell
from dealers.contract import Capabilities, Request, UnreadableAnswer
from dealers.declarative.sample import SAMPLE_ORDER
from dealers.registry import load

_SHIPPED = Path(__file__).parents[2] / "dealers" / "descriptions"


class CheckedKind(StrEnum):
    """What a pasted answer is."""

    PURCHASE = "purchase"
    STATUS = "status"
    CALLBACK = "callback"
    BALANCE = "balance"


def check_command(
    file: Annotated[
        str, typer.Argument(help="The description, JSON or .toml, or the name of a shipped one.")
    ],
    answer: Annotated[
        str | None, typer.Option(help="What the dealer sent, as `jalur dealers read` takes it.")
    ] = None,
    kind: Annotated[CheckedKind, typer.Option(help="What it is.")] = CheckedKind.PURCHASE,
    http_status: Annotated[int, typer.Option(help="Its status, where it has none.")] = 200,
    header: Annotated[
        list[str] | None, typer.Option(help="A callback's header, 'X-Signature: …'.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option(help="The sample order's reference; else what ANSWER names.")
    ] = None,
    number: Annotated[
        str | None, typer.Option(help="Its number, 08…; else what ANSWER names.")
    ] = None,
    sku: Annotated[str, typer.Option(help="Its code at the dealer.")] = SAMPLE_ORDER.dealer_sku,
    base_url: Annotated[str, typer.Option(help="Where the dealer is called.")] = SAMPLE_ADDRESS,
    credential: Credential = None,
    credentials_file: CredentialsFile = None,
    option: Option = None,
    as_json: Json = False,
) -> None:
    """Check a description and show what it sends and reads. Nothing is called or saved."""
    path = _path(file)
    order = dataclasses.replace(
        SAMPLE_ORDER,
        dealer_ref=ref or SAMPLE_ORDER.dealer_ref,
        customer_number=number or SAMPLE_ORDER.customer_number,
        dealer_sku=sku,
    )
    trial = try_description(
        description_text(path, read_file(path)),
        credentials_given(credential, credentials_file),
        pairs(option, "option"),
        base_url,
        order,
    )
    document, lines = _told(trial)
    if answer is not None and not trial.faults:
        content = read_file(answer)
        subject = Subject(ref, number, sku)
        if kind is CheckedKind.BALANCE:
            read, told = _balance(trial, content, http_status)
        else:
            read, told = _reading(trial, kind, subject, content, http_status, header)
        document["reading"] = read
        lines += ["", f"{answer}, read as {kind}:", *told]
    tell(document, lines, as_json=as_json)
    if trial.faults:
        raise typer.Exit(1)


def _path(file: str) -> str:
    shipped = {path.stem: str(path) for path in _SHIPPED.glob("*.toml")}
    return shipped.get(file, file)


def _told(trial: Trial) -> tuple[dict[str, object], list[str]]:
    document: dict[str, object] = {
        "ok": not trial.faults,
        "faults": list(trial.faults),
        "requests": {kind: _request(request) for kind, request in trial.requests.items()},
        "capabilities": None,
        "reading": None,
    }
    if trial.capabilities is None:
        count = len(trial.faults)
        return document, [f"{count} faults:" if count > 1 else "1 fault:", *trial.faults]
    document["capabilities"] = dataclasses.asdict(trial.capabilities)
    lines = ["The description can be used. For a sample order it sends:"]
    for kind, request in trial.requests.items():
        lines += ["", f"{kind}: {request.method} {request.url}"]
        lines += [f"  {name}: {value}" for name, value in request.headers.items()]
        lines += [f"  {request.body.decode()}"] if request.body else []
    return document, [*lines, "", _abilities(trial.capabilities)]


def _request(request: Request) -> dict[str, object]:
    return {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "body": request.body.decode(),
    }


def _abilities(can: Capabilities) -> str:
    callbacks = "words, where signed" if can.callback_is_word else "hints, which lead to a check"
    return f"Lost answers: {can.recovery}. Callbacks are {callbacks}."


def _reading(
    trial: Trial,
    kind: CheckedKind,
    subject: Subject,
    content: bytes,
    http_status: int,
    header: list[str] | None,
) -> tuple[dict[str, object], list[str]]:
    dialect = load()[PROTOCOL]
    if kind is CheckedKind.CALLBACK:
        words = WordsKind.CALLBACK
        reading = read_saved_callback(dialect, trial.account, content, headers_given(header))
    else:
        words = WordsKind.STATUS if kind is CheckedKind.STATUS else WordsKind.ANSWER
        answer = answer_from(content, http_status)
        reading = read_answer(dialect, trial.account, words, subject, answer)
    return reading_document(PROTOCOL, words, reading), reading_lines(reading)


def _balance(trial: Trial, content: bytes, http_status: int) -> tuple[dict[str, object], list[str]]:
    try:
        read = load()[PROTOCOL].read_balance(trial.account, answer_from(content, http_status))
    except UnreadableAnswer as refusal:
        return {"balance": None, "unreadable": str(refusal)}, [f"no balance: {refusal}"]
    return {"balance": read.rupiah, "unreadable": None}, [f"balance: Rp {read.rupiah:,}"]
