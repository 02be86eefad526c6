"""`make prometheus`: everything here tried with the real Prometheus against the real service.

First promtool over the configuration, the rules and their cases. Then the demo with orders, whose
metrics promtool reads, and which a Prometheus on loopback scrapes with this configuration until
every rule was evaluated. Ends with one JSON object as its last line; exit status 1 at a fault.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

HERE = Path(__file__).parent
INSTALL = ("apt-get", "install", "-qq", "-y", "--no-install-recommends", "prometheus")
WAIT_SECONDS = 90.0
KEY_SERIES = (
    'up{job="jalur"} == 1',
    "jalur_orders_accepted_total > 0",
    'jalur_orders_finished_total{status="succeeded"} > 0',
    'jalur_dealer_call_duration_seconds_count{kind="purchase"} > 0',
    'jalur_attempts_settled_total{source="purchase"} > 0',
    "jalur_market_share_ratio > 0",
    "jalur_wallets_available_rupiah > 0",
    "jalur_database_connections_max > 0",
    "jalur_upkeep_last_success_timestamp_seconds > 0",
    "jalur_redis_up == 1",
    "jalur_build_info == 1",
    "process_resident_memory_bytes > 0",
)
T = TypeVar("T")


class CheckFailed(Exception):
    """Something here does not hold; the message says what."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100, help="how many orders the demo sends")
    parser.add_argument(
        "--install", action="store_true", help="install Debian's prometheus where it is missing"
    )
    wish = parser.parse_args()
    started = time.monotonic()
    found: dict[str, Any] = {"ok": False}
    try:
        ensure_prometheus(install=wish.install)
        found |= {"rules": check_files()}
        found |= check_live(wish.orders)
        found["ok"] = True
    except (CheckFailed, httpx.HTTPError, OSError) as fault:
        found["fault"] = f"{type(fault).__name__}: {fault}"
    found["seconds"] = round(time.monotonic() - started, 1)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(not found["ok"])


def tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


# ------------------------------------------------------------------ the programs


def ensure_prometheus(*, install: bool) -> None:
    """Have promtool and prometheus; Debian's package starts a service, which is not wanted."""
    if shutil.which("promtool") and shutil.which("prometheus"):
        return
    if not install or os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CheckFailed("promtool is missing: as root, " + " ".join(INSTALL))
    tell("Installing prometheus …")
    subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=sys.stderr)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(INSTALL, check=True, stdout=sys.stderr, env=quiet)
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "--now", "prometheus"], check=False)


def promtool(*arguments: str, text: bytes | None = None, folder: Path = HERE) -> str:
    """Run promtool. Raises CheckFailed with what it says."""
    done = subprocess.run(
        ["promtool", *arguments], input=text, cwd=folder, capture_output=True, check=False
    )
    said = (done.stdout + done.stderr).decode()
    if done.returncode:
        raise CheckFailed(f"promtool {' '.join(arguments)}:\n{said}")
    return said


def configuration(folder: Path, token: str, target: str) -> Path:
    """This folder's files with a token and a target, and short intervals, as they are deployed."""
    shutil.copytree(HERE / "rules", folder / "rules")
    (folder / "targets").mkdir()
    (folder / "targets" / "jalur.yml").write_text(json.dumps([{"targets": [target]}]))
    (folder / "jalur-token").write_text(token)
    config = (HERE / "prometheus.yml").read_text()
    path = folder / "prometheus.yml"
    path.write_text(config.replace("_interval: 15s", "_interval: 1s"))
    return path


def check_files() -> int:
    """The configuration, the rules and their cases. Returns how many rules there are."""
    tell("Checking the configuration and the rules …")
    with tempfile.TemporaryDirectory() as name:
        config = configuration(Path(name), "token", "127.0.0.1:1")
        promtool("check", "config", str(config))
    said = promtool("check", "rules", *map(str, sorted((HERE / "rules").glob("*.yml"))))
    promtool("test", "rules", *map(str, sorted((HERE / "tests").glob("*.yml"))))
    return int(said.split(" rules found")[0].rsplit(maxsplit=1)[-1])


# ------------------------------------------------------------------ the running service


def check_live(orders: int) -> dict[str, Any]:
    """Orders through the demo, its metrics read by promtool and scraped by Prometheus."""
    folder = Path(tempfile.mkdtemp(prefix="jalur-prometheus-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with demo(folder / "demo", orders) as handout:
            text = exposition(handout)
            promtool("check", "metrics", text=text)
            target = handout["base_url"].removeprefix("http://")
            (folder / "prometheus").mkdir()
            config = configuration(folder / "prometheus", handout["admin_token"], target)
            with prometheus(config) as api:
                return {"series": text.count(b"\njalur_"), **watch(api)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(name: str, *command: str, output: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that is ended, politely first, whatever happens."""
    tell(f"Starting {name} …")
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield process
    except BaseException:
        tell(output.read_text(errors="replace")[-3000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def demo(folder: Path, orders: int) -> Iterator[dict[str, str]]:
    """The demo, serving after it has sent its orders; yields what `demo.json` hands out."""
    command = [sys.executable, "-m", "app", "demo", "--port", "0", "--orders", str(orders)]
    command += ["--data-dir", str(folder)]
    with running("the demo", *command, output=folder.with_suffix(".out")) as process:
        handout: dict[str, str] = until(
            "the demo serves", process, lambda: json.loads((folder / "demo.json").read_text())
        )
        until("orders finish", process, lambda: finished(exposition(handout)))
        yield handout


def exposition(handout: dict[str, str]) -> bytes:
    token = {"authorization": f"Bearer {handout['admin_token']}"}
    url = f"{handout['base_url']}/metrics"
    return httpx.get(url, headers=token, trust_env=False).raise_for_status().content


def finished(text: bytes) -> bool:
    return b'jalur_orders_finished_total{status="succeeded"} 0.0' not in text


@contextmanager
def prometheus(config: Path) -> Iterator[httpx.Client]:
    """Prometheus on a free port of loopback; yields a client of its API."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (
        running("prometheus", *command, output=config.with_suffix(".out")) as process,
        httpx.Client(base_url=f"http://{address}/api/v1", trust_env=False) as api,
    ):
        until("prometheus answers", process, lambda: ask(api, "status/buildinfo"))
        until("the target is up", process, lambda: target_is_up(api))
        until("every rule was evaluated", process, lambda: rules_are_evaluated(api))
        yield api


def until(what: str, process: "subprocess.Popen[bytes]", look: Callable[[], T]) -> T:
    """Look until it is so and return what was seen. Raises CheckFailed when it never is."""
    tell(f"Waiting until {what} …")
    deadline = time.monotonic() + WAIT_SECONDS
    trouble = "not so yet"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if seen := look():
                return seen
        except (OSError, ValueError, httpx.HTTPError) as error:
            trouble = f"{type(error).__name__}: {error}"
        time.sleep(0.25)
    raise CheckFailed(f"never: {what}; {trouble}")


def ask(api: httpx.Client, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
    answer = api.get(path, params=parameters).raise_for_status().json()
    return answer["data"]


def target_is_up(api: httpx.Client) -> bool:
    targets = ask(api, "targets")["activeTargets"]
    return bool(targets) and all(target["health"] == "up" for target in targets)


def rules_are_evaluated(api: httpx.Client) -> bool:
    """Whether every rule is in order. Raises CheckFailed for one that cannot be evaluated."""
    rules = [rule for group in ask(api, "rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] == "err":
            raise CheckFailed(f"rule {rule['name']}: {rule['lastError']}")
    return bool(rules) and all(rule["health"] == "ok" for rule in rules)


def watch(api: httpx.Client) -> dict[str, Any]:
    """That the key series are there, and which alerts stand."""
    for expression in KEY_SERIES:
        if not ask(api, "query", query=expression)["result"]:
            raise CheckFailed(f"Prometheus finds nothing for {expression}")
    groups = ask(api, "rules")["groups"]
    alerts = {alert["labels"]["alertname"] for alert in ask(api, "alerts")["alerts"]}
    evaluated = sum(len(group["rules"]) for group in groups)
    return {"groups": len(groups), "evaluated": evaluated, "alerts": sorted(alerts)}


if __name__ == "__main__":
    main()
