"""Logs: whatever is logged, numbers are masked and secrets censored."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.logs import configure


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
