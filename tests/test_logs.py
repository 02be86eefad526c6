"""Logs: whatever is logged, numbers are masked and secrets censored."""

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest
import structlog

from app.logs import bind, configure, flush, lines_lost


@pytest.fixture
def written() -> Iterator[io.TextIOWrapper]:
    handlers, level = logging.root.handlers[:], logging.root.level
    stream = io.TextIOWrapper(io.BytesIO(), write_through=True)
    configure("json", stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def lines(stream: io.TextIOWrapper) -> list[dict]:
    text = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return [json.loads(line) for line in text.splitlines()]


def test_an_event_is_one_line_of_json_with_its_fields(written: io.TextIOWrapper) -> None:
    structlog.get_logger().info("order.accepted", order_id="o-1", price=10_500)
    (line,) = lines(written)
    assert line["event"] == "order.accepted"
    assert (line["order_id"], line["price"], line["level"]) == ("o-1", 10_500, "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("number", ["081234567890", "6281234567890", "+6281234567890"])
def test_numbers_are_masked_wherever_they_stand(written: io.TextIOWrapper, number: str) -> None:
    log = structlog.get_logger()
    log.info("a", customer_number=number, nested={"list": [f"to {number}."]})
    log.error("b", exc_info=ValueError(f"failing row contains ({number})"))
    logging.getLogger("uvicorn.error").error("refused %s", number)
    text = json.dumps(lines(written))
    assert "34567" not in text
    assert text.count("****") == 4


def test_ids_and_amounts_are_not_taken_for_numbers(written: io.TextIOWrapper) -> None:
    fields = {"a": "0819a2b4-08a1-7abc-8123-0812345678ab", "b": 10_081_234_567_890, "c": "08123"}
    structlog.get_logger().info("x", **fields)
    assert fields.items() <= lines(written)[0].items()


@pytest.mark.parametrize(
    "name", ["Authorization", "webhook_secret", "password", "api_key", "credentials", "sign"]
)
def test_secrets_are_censored_at_any_depth(written: io.TextIOWrapper, name: str) -> None:
    structlog.get_logger().info("x", **{name: "hunter2"}, deep=[{"deeper": {name: "hunter2"}}])
    assert "hunter2" not in json.dumps(lines(written))


def test_a_traceback_shows_no_variables(written: io.TextIOWrapper) -> None:
    def fail(pin: str) -> None:
        raise ValueError(len(pin))

    try:
        fail("hunter" + str(2))
    except ValueError:
        structlog.get_logger().exception("x")
    assert "in fail" in lines(written)[0]["exception"]
    assert "hunter2" not in json.dumps(lines(written))


def test_the_console_masks_as_well() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), write_through=True)
    try:
        configure("console", stream=stream)
        structlog.get_logger().info("x", number="081234567890", api_key="hunter2")
    finally:
        structlog.reset_defaults()
        logging.root.handlers.clear()
    text = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "0812****7890" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "text",
    [
        "GET /trx?memberID=J&pin=hunter2&password=hunter2&sign=hunter2",
        "pin%3Dhunter2",
        "cannot reach postgresql://jalur:hunter2@db/jalur",
        "redis://:hunter2@cache/0",
        "postgresql://jalur:p@ss/hunter2@db/jalur",
        "{'api_key': 'hunter2', 'pin': 'hunter2'}",
        '{"password": "hunter2"}',
        "JALUR_SECRET_KEY=hunter2",
        "Authorization: Bearer hunter2",
        "Basic hunter2",
        "POST /v1/callbacks/alfa/hunter2?x=1",
        "the key jalur_live_abcdefghij22_hunterhunter was sent",
        "signed with whsec_hunter2+/=",
        "DETAIL:  Key (callback_token)=(hunter2) already exists.",
        "DETAIL:  Failing row contains (alfa, hunter2, 1).",
    ],
)
def test_what_looks_like_a_secret_in_a_text_is_censored(
    written: io.TextIOWrapper, text: str
) -> None:
    log = structlog.get_logger()
    log.warning("x", reason=text, deep=[text])
    log.error("x", exc_info=RuntimeError(text))
    logging.getLogger("uvicorn.error").error(text)
    told = json.dumps(lines(written))
    assert "hunter" not in told
    assert told.count("[secret]") >= 4


def test_censoring_leaves_what_tells_something(written: io.TextIOWrapper) -> None:
    reason = "cannot reach postgresql://jalur:hunter2@db/jalur: 'connection refused'"
    structlog.get_logger().warning("x", reason=reason, duty="table", designs=3)
    (line,) = lines(written)
    assert line["reason"] == reason.replace("hunter2", "[secret]")
    assert (line["duty"], line["designs"]) == ("table", 3)


@pytest.mark.parametrize("before", ["\n", "\t", "\x0b", "%2B", "%20", "\udc80", "=", "'"])
def test_number_is_masked_whatever_stands_before_it(written: io.TextIOWrapper, before: str) -> None:
    structlog.get_logger().info("x", text=f"a{before}6281234567890")
    assert "34567" not in json.dumps(lines(written))


def test_what_json_cannot_hold_is_told_all_the_same(written: io.TextIOWrapper) -> None:
    structlog.get_logger().info("x", big=2**70, broken="\ud800", thing=object)
    (line,) = lines(written)
    assert line["big"] == 2**70


def test_bound_ids_stand_on_every_line_of_their_task_only(written: io.TextIOWrapper) -> None:
    async def request(trace_id: str) -> None:
        bind(trace_id=trace_id)
        structlog.get_logger().info("x")

    async def both() -> None:
        await asyncio.gather(request("one"), request("two"))
        structlog.get_logger().info("y")

    asyncio.run(both())
    flush()
    assert [line.get("trace_id") for line in lines(written)] == ["one", "two", None]


def test_lines_are_held_back_a_moment_and_a_warning_is_not() -> None:
    async def work() -> list[int]:
        structlog.get_logger().info("a")
        held = len(raw.getvalue())
        structlog.get_logger().warning("b")
        told = raw.getvalue().count(b"\n")
        structlog.get_logger().info("c")
        await asyncio.sleep(0.3)
        return [held, told, raw.getvalue().count(b"\n")]

    raw = io.BytesIO()
    stream = io.TextIOWrapper(cast("Any", io.BufferedWriter(cast("Any", raw))))
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        configure("json", stream=stream)
        assert asyncio.run(work()) == [0, 2, 3]
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


def test_log_that_cannot_be_written_stops_nobody(written: io.TextIOWrapper) -> None:
    before = lines_lost()
    written.close()
    structlog.get_logger().error("x")
    assert lines_lost() == before + 1


def test_lines_of_a_process_that_ends_are_not_lost() -> None:
    program = (
        "import asyncio, structlog; from app import logs; logs.configure()\n"
        "async def work(): structlog.get_logger().info('last.words')\n"
        "asyncio.run(work())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout)["event"] == "last.words"


def test_commands_log_by_these_rules_too_and_never_to_standard_output() -> None:
    program = (
        "import sys, structlog; from app import __main__ as jalur\n"
        "def command(): structlog.get_logger().error('x', pin='hunter2', to='081234567890')\n"
        "jalur.cli = command; jalur.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b""
    assert b"0812****7890" in done.stderr
    assert b"hunter2" not in done.stderr
