"""What the peers need beside the service: an environment of their own, and Debian's Kannel.

Neither is a dependency of the project. The packages' versions and hashes are in requirements.lock.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from loadtests.peers import kannel

LOCK = Path(__file__).with_name("requirements.lock")
_INSTALL = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", kannel.PACKAGE]
_SECONDS = 600.0


def default_cache() -> Path:
    """Where the environment is kept from one time to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jalur-peers"


def python_of(cache: Path) -> Path | None:
    """The interpreter of the environment that stands in the cache; None where it does not."""
    python = _folder(cache) / "bin" / "python"
    return python if (_folder(cache) / "complete").exists() and python.exists() else None


def install_packages(cache: Path) -> str | None:
    """Make the environment. Returns why it could not be made, None where it stands."""
    folder = _folder(cache)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wanted = ["install", "--no-deps", "--require-hashes", "-r", str(LOCK)]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, *wanted]):
        if failure := _run(command):
            return failure
    (folder / "complete").touch()
    return None


def install_kannel() -> str | None:
    """Install Debian's package. Returns why it could not be, None where it is here."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "only root can install it, on Debian"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    failure = _run(["apt-get", "update", "-qq"], quiet) or _run(_INSTALL, quiet)
    if failure is None and shutil.which("systemctl"):
        # Debian's package starts its daemon, which is not wanted.
        subprocess.run(["systemctl", "disable", "--now", kannel.PACKAGE], check=False)
    return failure


def _run(command: list[str], environment: dict[str, str] | None = None) -> str | None:
    """Run a command. Returns the end of what it said where it failed."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no word of it"]
    return lines[-1]


def _folder(cache: Path) -> Path:
    """Of one environment: other versions, another Python or another place are another one."""
    parts = (LOCK.read_text(), sys.version, str(cache))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache / f"python-{digest}"
