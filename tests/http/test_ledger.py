"""The ledger: lists, statements and CSV of a time, which add up to the last rupiah."""

import csv
import io
from collections import Counter
from datetime import datetime, timedelta

import pytest

from app.http import ledger
from app.storage import entries
from dealers.contract import Outcome
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop
from tests.http.test_reads import read_all

ORDERS = 9


@pytest.fixture
async def booked(shop: Shop, customer: Customer) -> list[dict]:
    """Orders that succeeded, failed, and are open; an hour lies between two entries."""
    for number in range(ORDERS):
        order = (await customer.order(f"r-{number}")).json()
        if number % 3 == 0:
            await (await shop.send_to_dealer(order)).hear(Outcome.SUCCEEDED)
        elif number % 3 == 1:
            await customer.http.post(f"/v1/orders/{order['id']}/cancel")
    await shop.owner.execute(
        """
        update ledger_entries e set created_at = e.created_at - (w.entry_seq - seq) * interval '1h'
        from wallets w where w.reseller_id = e.reseller_id and e.reseller_id = $1
        """,
        customer.reseller_id,
    )
    return (await customer.http.get("/v1/ledger?limit=100&sort=oldest")).json()["data"]


def times(booked: list[dict]) -> list[str]:
    """Moments before, at, between and behind the entries."""
    stamps = [datetime.fromisoformat(entry["created_at"]) for entry in booked]
    half = timedelta(minutes=30)
    return [moment.isoformat() for stamp in stamps[::4] for moment in (stamp - half, stamp)] + [
        (stamps[-1] + half).isoformat()
    ]


@pytest.mark.parametrize("scan", [1, 4, 2000])
async def test_every_time_and_kind_is_listed_whole_either_way(
    customer: Customer, booked: list[dict], monkeypatch: pytest.MonkeyPatch, scan: int
) -> None:
    monkeypatch.setattr(entries, "SCAN_LIMIT", scan)
    moments = times(booked)
    for begins, ends in [(moments[0], moments[-1]), (moments[2], moments[5]), (moments[3], None)]:
        query = {"from": begins} | ({"to": ends} if ends else {})
        for kinds in (None, ["capture"], ["reserve", "release"]):
            expected = [
                entry
                for entry in booked
                if datetime.fromisoformat(entry["created_at"]) >= datetime.fromisoformat(begins)
                and (
                    ends is None
                    or datetime.fromisoformat(entry["created_at"]) < datetime.fromisoformat(ends)
                )
                and (kinds is None or entry["kind"] in kinds)
            ]
            asked = query | ({"kind": kinds} if kinds else {})
            found = await read_all(customer, "/v1/ledger", 3, sort="oldest", **asked)
            assert found == expected
            assert await read_all(customer, "/v1/ledger", 3, **asked) == expected[::-1]


async def test_opening_and_entries_make_the_closing_of_every_time(
    customer: Customer, booked: list[dict]
) -> None:
    moments = times(booked)
    for number, begins in enumerate(moments):
        for ends in moments[number + 1 :]:
            query = {"from": begins, "to": ends}
            told = (await customer.http.get("/v1/ledger/statement", params=query)).json()
            listed = await read_all(customer, "/v1/ledger", 100, **query)
            assert told["entries"] == len(listed) == sum(t["entries"] for t in told["totals"])
            assert Counter(entry["kind"] for entry in listed) == {
                total["kind"]: total["entries"] for total in told["totals"]
            }
            for money in ("available", "reserved"):
                moved = sum(entry[f"{money}_delta"] for entry in listed)
                assert sum(total[money] for total in told["totals"]) == moved
                assert told["opening"][money] + moved == told["closing"][money]
    whole = {"from": moments[0]}
    told = (await customer.http.get("/v1/ledger/statement", params=whole)).json()
    balance = (await customer.http.get("/v1/balance")).json()
    assert told["opening"] == {"available": 0, "reserved": 0}
    assert told["closing"] == {name: balance[name] for name in ("available", "reserved")}


async def test_a_late_booking_counts_to_the_time_it_was_booked_in(
    shop: Shop, customer: Customer, booked: list[dict]
) -> None:
    """Its time was taken before that of the entry booked before it."""
    noon = datetime.fromisoformat(booked[4]["created_at"])
    await shop.owner.execute(
        "update ledger_entries set created_at = $1 where seq = 6", noon - timedelta(seconds=50)
    )
    first = (await customer.http.get("/v1/ledger/statement", params={
        "from": times(booked)[0], "to": noon.isoformat()
    })).json()  # fmt: skip
    second = (
        await customer.http.get("/v1/ledger/statement", params={"from": noon.isoformat()})
    ).json()
    assert (first["last_seq"], second["first_seq"]) == (4, 5)
    assert first["closing"] == second["opening"]


async def test_an_order_s_entries(customer: Customer, booked: list[dict]) -> None:
    order_id = next(entry["order_id"] for entry in booked if entry["kind"] == "capture")
    query = {"order_id": order_id, "sort": "oldest"}
    found = (await customer.http.get("/v1/ledger", params=query)).json()["data"]
    assert [(entry["kind"], entry["ref_id"]) for entry in found] == [
        ("reserve", "r-0"),
        ("capture", "r-0"),
    ]
    captured = await customer.http.get("/v1/ledger", params={**query, "kind": "capture"})
    assert [entry["kind"] for entry in captured.json()["data"]] == ["capture"]


@pytest.mark.parametrize("piece", [1, 5, 500])
async def test_csv_holds_the_same_entries_in_pieces_of_any_size(
    customer: Customer, booked: list[dict], monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(ledger, "_PIECE", piece)
    moments = times(booked)
    query = {"from": moments[2], "to": moments[-1]}
    listed = await read_all(customer, "/v1/ledger", 100, sort="oldest", **query)
    answer = await customer.http.get("/v1/ledger", params=query, headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [int(row["seq"]) for row in rows] == [entry["seq"] for entry in listed]
    for row, entry in zip(rows, listed, strict=True):
        assert row["created_at_wib"].endswith("+07:00")
        stamp = datetime.fromisoformat(row["created_at_wib"])
        assert stamp == datetime.fromisoformat(entry["created_at"])
        assert int(row["available_delta"]) == entry["available_delta"]
        assert row["ref_id"] == (entry["ref_id"] or "")
    newest = {"format": "csv", "sort": "newest", "kind": "capture", **query}
    backwards = (await customer.http.get("/v1/ledger", params=newest)).text
    seqs = [int(row["seq"]) for row in csv.DictReader(io.StringIO(backwards, newline=""))]
    assert seqs == [e["seq"] for e in listed[::-1] if e["kind"] == "capture"]


async def test_csv_holds_no_formulas(shop: Shop, customer: Customer) -> None:
    for ref_id in ("=1+1", "+1", "-1", "@SUM(A1)", "a=1", '"=1'):
        await customer.order(ref_id)
    await shop.owner.execute("update ledger_entries set reference = e'\\t=1' where seq = 1")
    query = {"format": "csv", "from": "2020-01-01T00:00:00Z"}
    text = (await customer.http.get("/v1/ledger", params=query)).text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows[0]["reference"] == "'\t=1"
    assert [row["ref_id"] for row in rows[1:]] == [
        "'=1+1", "'+1", "'-1", "'@SUM(A1)", "a=1", '"=1'
    ]  # fmt: skip


async def test_times_that_cannot_be_read_whole_are_refused(
    customer: Customer, booked: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/v1/ledger?format=csv", "/v1/ledger/statement"):
        refused = await customer.http.get(path)
        assert_problem(refused, 422, "invalid-request")
        assert refused.json()["errors"][0]["field"] == "from"
    monkeypatch.setattr(ledger, "MOST_ENTRIES", len(booked) - 1)
    for path in ("/v1/ledger?format=csv&", "/v1/ledger/statement?"):
        refused = await customer.http.get(path + "from=2020-01-01T00:00:00Z")
        assert_problem(refused, 422, "range-too-large")
    backwards = "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"
    for path in ("/v1/ledger?", "/v1/ledger/statement?"):
        refused = await customer.http.get(path + backwards)
        assert refused.json()["errors"][0]["field"] == "to"


async def test_times_without_entries(customer: Customer, booked: list[dict]) -> None:
    past = {"from": "2001-01-01T00:00:00Z", "to": "2002-01-01T00:00:00Z"}
    told = (await customer.http.get("/v1/ledger/statement", params=past)).json()
    assert (told["entries"], told["opening"], told["closing"]) == (
        0,
        {"available": 0, "reserved": 0},
        {"available": 0, "reserved": 0},
    )
    coming = {"from": "2099-01-01T00:00:00Z"}
    told = (await customer.http.get("/v1/ledger/statement", params=coming)).json()
    balance = (await customer.http.get("/v1/balance")).json()
    assert told["opening"] == told["closing"]
    assert told["opening"]["available"] == balance["available"]
    assert (await customer.http.get("/v1/ledger", params=past)).json()["data"] == []


async def test_balance_is_sent_again_only_when_it_changed(customer: Customer) -> None:
    tag = {"if-none-match": (await customer.http.get("/v1/balance")).headers["etag"]}
    unchanged = await customer.http.get("/v1/balance", headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    await customer.order()
    changed = await customer.http.get("/v1/balance", headers=tag)
    assert changed.json()["reserved"] == 10_500


async def test_another_reseller_s_entries_are_not_there(
    shop: Shop, customer: Customer, booked: list[dict]
) -> None:
    stranger = await shop.customer()
    order_id = booked[-1]["order_id"]
    for path in (f"/v1/ledger?order_id={order_id}", "/v1/ledger?kind=reserve"):
        assert (await stranger.http.get(path)).json()["data"] == []
    text = (await stranger.http.get("/v1/ledger?format=csv&from=2020-01-01T00:00:00Z")).text
    assert len(text.splitlines()) == 2  # the head, and its own deposit
