"""The peers' side of the load tests: what is counted after a kill, and who is left out."""

import json
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from app.embedded.folder import HOST
from dealers.simulator.connection import Request
from loadtests.asking import requests_of
from loadtests.job import Job
from loadtests.orders import order_body, reference
from loadtests.peers import contenders, listener, upstream
from loadtests.peers.kills import wreck
from loadtests.peers.peer import Scene, around, read_book
from loadtests.peers.processes import free_port, spawn_program, supervise, wait_for_port
from loadtests.receiver import Inbox
from tests.loadtests.forgetful_peer import ONE_IN

ROOT = Path(__file__).resolve().parents[2]


def asked(method: str, target: str, body: bytes = b"") -> Request:
    return Request(method, target.encode(), {}, body, is_last=False)


def test_a_kill_in_the_middle_of_a_load_shows_what_was_lost_and_what_was_doubled(tmp_path):
    with around(tmp_path, ["loadtests.peers.listener"], 0.0) as (others, sells, hears):
        port, log = free_port(tmp_path), tmp_path / "peer.log"
        module = ["-m", "tests.loadtests.forgetful_peer"]
        where = ["--port", str(port), "--upstream", sells, "--receiver", hears]
        spawn = partial(spawn_program, [sys.executable, *module, *where], {}, log)
        peer = supervise("peer", spawn)
        try:
            wait_for_port(port, peer, log)
            scene = Scene(
                orders_url=f"http://{HOST}:{port}/v1/orders",
                kind="order",
                tokens=["key"],
                receiver_url=hears,
                read_book=partial(read_book, sells),
                supervised={"peer": peer},
                around=others,
            )
            first = peer.process.pid
            job = Job(scene.orders_url, ["key"], 2.0, 5000, 4, receiver_url=hears, most_open=20)
            found = wreck(job, scene.supervised, "peer", scene, 1.0)
            assert peer.process.pid != first
            book, heard = scene.book(), scene.heard()
        finally:
            peer.stop()
    killed = found.killed
    assert 0 < killed.lost <= 20
    assert killed.accepted - killed.lost <= len(book) <= killed.accepted + found.unsure
    assert killed.bought_twice == sum(number % ONE_IN == 0 for number in book) > 0
    assert killed.reported_twice == heard.repeated == killed.bought_twice
    assert killed.unreported == 0


def test_the_light_dealer_delivers_as_often_as_it_is_asked():
    book = upstream.Book()
    order = json.dumps({"ref_id": reference(7, 1)}).encode()
    for _ in range(2):
        upstream.respond(book, 0.0, asked("POST", "/purchases", order))
    text = f"/messages?to=0812&text=S10.0812.{reference(8, 1)}"
    assert upstream.respond(book, 0.0, asked("GET", text)).wire.endswith(b"Sent")
    delivered = memoryview(book.to_bytes()).cast("q")
    assert Counter(delivered.tolist()) == {7: 2, 8: 1}


def test_only_a_report_of_what_the_dealer_took_counts():
    inbox = Inbox([])
    assert (
        b"200 OK" in listener.hear(inbox, asked("GET", f"/reports/{reference(5, 0)}?type=8")).wire
    )
    refused = listener.hear(inbox, asked("GET", f"/reports/{reference(6, 0)}?type=16"))
    assert b"422" in refused.wire
    assert json.loads(inbox.counts())["orders"] == 1


def test_a_message_carries_the_order_and_where_to_report_it():
    job = Job(
        "http://127.0.0.1:1/sms", ["a", "b"], 1, 9, 1, receiver_url="http://r", kind="sendsms"
    )
    line = requests_of(job, 9)(3).split(b"\r\n")[0].decode()
    query = parse_qs(urlsplit(line.split()[1]).query)
    assert query["text"][0].endswith(f".{reference(3, 1)}")
    assert query["dlr-url"] == [f"http://r/reports/{reference(3, 1)}?type=%d"]
    assert line.startswith("GET /sms?")


def test_an_order_is_sent_as_its_reseller():
    job = Job("http://127.0.0.1:1/v1/orders", ["first", "second"], 1, 9, 1)
    request = requests_of(job, 9)(3)
    assert b"authorization: Bearer second\r\n" in request
    assert request.endswith(b"\r\n\r\n" + order_body(3, 1))


def test_a_peer_that_is_not_installed_is_left_out_and_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr("loadtests.peers.kannel._SEARCH_PATH", str(tmp_path))
    found = contenders.find(tmp_path, install=False)
    assert [each.name for each in found.contenders] == ["jalur"]
    assert len(found.left_out) == 2


def test_every_peer_has_the_name_it_is_asked_for_by(tmp_path, monkeypatch):
    monkeypatch.setattr("loadtests.peers.environment.python_of", lambda _cache: tmp_path)
    monkeypatch.setattr("loadtests.peers.kannel.is_installed", lambda: True)
    found = contenders.find(tmp_path, install=False)
    assert tuple(each.name for each in found.contenders) == contenders.NAMES


def test_the_command_measures_the_service_like_a_peer():
    command = [sys.executable, "-m", "loadtests.peers", "--quick", "--json-only"]
    only = ["--orders", "40", "--only", "jalur"]
    done = subprocess.run(
        [*command, *only], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    result = json.loads(done.stdout)
    assert (done.returncode, result["faults"]) == (0, []), done.stderr
    assert result["rates"]["jalur"]["orders"] == 40
    assert (result["rates"]["jalur"]["lost"], result["rates"]["jalur"]["doubled"]) == (0, 0)
