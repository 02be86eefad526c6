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
    if not (_run([sys.executable, "-m", "venv", str(folder)]) and _run([*pip, *wanted])):
        return "pip could not install their packages"
    (folder / "complete").touch()
    return None


def install_kannel() -> str | None:
    """Install Debian's package. Returns why it could not be, None where it is here."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "only root can install it, on Debian"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    if not (_run(["apt-get", "update", "-qq"], quiet) and _run(_INSTALL, quiet)):
        return "apt-get could not install it"
    if shutil.which("systemctl"):
        # Debian's package starts its daemon, which is not wanted.
        _run(["systemctl", "disable", "--now", kannel.PACKAGE])
    return None


def _run(command: list[str], environment: dict[str, str] | None = None) -> bool:
    """Whether a command did what it was told; where not, it has said why on standard error."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdout=sys.stderr,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return False
    return done.returncode == 0


def _folder(cache: Path) -> Path:
    """Of one environment: other versions, another Python or another place are another one."""
    parts = (LOCK.read_text(), sys.version, str(cache))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache / f"python-{digest}"
