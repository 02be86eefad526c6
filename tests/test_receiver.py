"""The demo's webhook receiver, run as the process that it is."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.errors import ConfigurationError
from app.signatures import new_secret, sign

SECRET, OTHER = new_secret(), new_secret()
EVENT = {"type": "order.succeeded", "timestamp": "2026-11-02T10:00:00+07:00", "data": {"id": "o1"}}


class RunningReceiver:
    def __init__(self, process: subprocess.Popen[str], http: httpx.Client) -> None:
        self.process = process
        self.http = http

    def accept(self, *secrets: str) -> None:
        body = {"secret": secrets[0] if len(secrets) == 1 else list(secrets)}
        assert self.http.put("/secret", json=body).status_code == 204

    def deliver(
        self, webhook_id: str, event: object = EVENT, secret: str = SECRET, age_seconds: int = 0
    ) -> int:
        body = orjson.dumps(event)
        timestamp = int(time.time()) - age_seconds
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign([secret], webhook_id, timestamp, body),
        }
        return self.http.post("/hooks", content=body, headers=headers).status_code

    def received(self) -> dict:
        return self.http.get("/received").json()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(state_dir: Path) -> Iterator[RunningReceiver]:
    command = [sys.executable, "-m", "app.cli.receiver", "--port", "0", "--state-dir"]
    with subprocess.Popen([*command, state_dir], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["listening"]
        with httpx.Client(base_url=address, trust_env=False) as http:
            yield RunningReceiver(process, http)
        process.terminate()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReceiver]:
    with running(tmp_path_factory.mktemp("receiver")) as started:
        started.accept(SECRET)
        yield started


def event_of(receiver: RunningReceiver, webhook_id: str) -> dict | None:
    verified = receiver.received()["verified"]
    return next((event for event in verified if event["webhook_id"] == webhook_id), None)


def test_a_signed_delivery_is_listed(receiver: RunningReceiver):
    assert receiver.deliver("first") == 204
    assert event_of(receiver, "first") == {"webhook_id": "first", **EVENT, "times_received": 1}


def test_a_repeated_delivery_is_one_event_counted_twice(receiver: RunningReceiver):
    receiver.deliver("repeated")
    receiver.deliver("repeated")
    event = event_of(receiver, "repeated")
    assert event is not None
    assert event["times_received"] == 2


def test_a_wrong_signature_is_refused_and_counted(receiver: RunningReceiver):
    before = receiver.received()["refused"]
    assert receiver.deliver("forged", secret=OTHER) == 401
    assert receiver.received()["refused"] == before + 1
    assert event_of(receiver, "forged") is None


def test_an_old_delivery_is_refused(receiver: RunningReceiver):
    assert receiver.deliver("old", age_seconds=600) == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-id": "x", "webhook-timestamp": "now", "webhook-signature": "v1,AA=="},
        {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "no comma"},
        {"webhook-id": "x", "webhook-timestamp": "nan", "webhook-signature": "v1,%%%"},
    ],
)
def test_malformed_signature_headers_are_refused(receiver: RunningReceiver, headers: dict):
    assert receiver.http.post("/hooks", content=b"{}", headers=headers).status_code == 401


@pytest.mark.parametrize("event", [{}, [], "text", {"type": "order.failed", "data": {}}])
def test_a_signed_payload_of_the_wrong_shape_is_refused(receiver: RunningReceiver, event: object):
    assert receiver.deliver("misshapen", event) == 400


def test_a_body_that_is_too_long_is_refused(receiver: RunningReceiver):
    assert receiver.deliver("long", {**EVENT, "data": "x" * 70_000}) == 413


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"secret": ""}', b'{"secret": []}', b'{"secret": "whsec_a"}']
)
def test_a_malformed_secret_changes_nothing(receiver: RunningReceiver, body: bytes):
    assert receiver.http.put("/secret", content=body).status_code == 400
    assert receiver.deliver("after-a-bad-secret") == 204


def test_it_says_that_it_lives_and_knows_no_other_page(receiver: RunningReceiver):
    assert receiver.http.get("/livez").json() == {"status": "ok"}
    assert receiver.http.get("/hooks").status_code == 404


def test_while_a_secret_rotates_both_are_accepted(tmp_path: Path):
    with running(tmp_path) as receiver:
        assert receiver.deliver("too-early") == 401
        receiver.accept(SECRET, OTHER)
        assert receiver.deliver("a", secret=SECRET) == 204
        assert receiver.deliver("b", secret=OTHER) == 204


def test_what_was_answered_survives_a_kill_and_a_torn_line_does_not_harm(tmp_path: Path):
    with running(tmp_path) as receiver:
        receiver.accept(SECRET)
        receiver.deliver("kept")
        receiver.deliver("kept")
        before = receiver.received()["verified"]
        receiver.kill()
    with (tmp_path / "received.jsonl").open("ab") as log:
        log.write(b'{"webhook_id": "torn", "ty')
    with running(tmp_path) as receiver:
        assert receiver.received()["verified"] == before
        assert receiver.deliver("after") == 204
        receiver.kill()
    with running(tmp_path) as receiver:
        assert [event["webhook_id"] for event in receiver.received()["verified"]] == [
            "kept",
            "after",
        ]


def test_its_secrets_are_kept_from_other_users(tmp_path: Path):
    with running(tmp_path) as receiver:
        receiver.accept(SECRET)
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_a_taken_port_is_told_with_a_way_out(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (
            ["receiver", "--state-dir", str(tmp_path)],
            ["simulator", "--config", str(_no_dealers(tmp_path))],
        ):
            done = CliRunner().invoke(cli, [*words, "--port", port])
            assert isinstance(done.exception, ConfigurationError)
            assert f"where port {port} is taken, choose another with --port" in str(done.exception)


def _no_dealers(folder: Path) -> Path:
    config = folder / "simulator.json"
    config.write_text('{"dealers": []}')
    return config
