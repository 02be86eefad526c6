"""The servers end with the process that started them, even when it is killed with -9."""

import json
import subprocess
import sys
import time

import pytest

from app.embedded.folder import is_free
from app.embedded.launcher import EmbeddedServerError
from app.embedded.postgres import start_postgres

PARENT = """
import json, pathlib, sys, time
from app.embedded.postgres import start_postgres
from app.embedded.valkey import start_valkey
folder = pathlib.Path(sys.argv[1])
started = start_postgres(folder), start_valkey(folder)
print(json.dumps([server.port for server in started]), flush=True)
time.sleep(60)
"""


@pytest.fixture
def parent(data_dir):
    command = [sys.executable, "-c", PARENT, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.ports = json.loads(process.stdout.readline())
        yield process
        process.kill()
    _wait_until_free(process.ports)


def _wait_until_free(ports):
    while not all(is_free(port) for port in ports):
        time.sleep(0.05)


def test_both_servers_end_when_their_parent_is_killed(parent):
    assert not any(is_free(port) for port in parent.ports)
    parent.kill()
    _wait_until_free(parent.ports)


def test_a_start_waits_for_the_server_of_a_parent_killed_a_moment_ago(parent, data_dir):
    parent.kill()
    with start_postgres(data_dir) as running:
        assert running.port == parent.ports[0]


def test_a_start_beside_a_living_server_says_what_to_do(parent, data_dir, monkeypatch):
    monkeypatch.setattr("app.embedded.postgres.PREDECESSOR_SECONDS", 0.1)
    with pytest.raises(EmbeddedServerError, match=r"still runs on .* choose another folder"):
        start_postgres(data_dir)
