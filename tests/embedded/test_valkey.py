"""The embedded Valkey answers only to its password and returns to its address after a kill."""

import pytest
import redis

from app.embedded.folder import give_to_server
from app.embedded.valkey import start_valkey


def _ask(url, *words):
    with redis.Redis.from_url(url) as client:
        return client.execute_command(*words)


def test_the_url_is_all_a_client_needs(valkey):
    assert _ask(valkey.url, "PING") is True


def test_a_client_without_the_password_is_refused(valkey):
    with pytest.raises(redis.AuthenticationError):
        _ask(f"redis://127.0.0.1:{valkey.port}/0", "PING")


def test_nothing_is_kept_on_disk(valkey):
    assert _ask(valkey.url, "CONFIG", "GET", "save") == {b"save": b""}
    assert _ask(valkey.url, "CONFIG", "GET", "appendonly") == {b"appendonly": b"no"}


def test_the_password_is_not_in_the_command_line(valkey):
    with open(f"/proc/{valkey.process.pid}/cmdline") as line:
        assert valkey.url.split("@")[0].split(":")[2] not in line.read()


def test_a_killed_server_returns_to_its_address(data_dir):
    first = start_valkey(data_dir)
    first.process.kill()
    first.process.wait()
    with start_valkey(data_dir) as second:
        assert second.url == first.url
        assert _ask(second.url, "PING") is True


def test_what_it_is_told_to_keep_outlives_a_kill(data_dir):
    kept = data_dir / "kept"
    kept.mkdir()
    give_to_server(kept)
    told = f'save ""\nappendonly yes\nappendfsync always\ndir {kept}\n'
    with start_valkey(data_dir, persistence=told) as first:
        _ask(first.url, "SET", "order", "1")
        first.process.kill()
        first.process.wait()
    with start_valkey(data_dir, persistence=told) as second:
        assert _ask(second.url, "GET", "order") == b"1"
