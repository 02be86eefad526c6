"""Webhook signatures held against the packages that resellers use in Node, while a secret rotates.

Skipped, saying so, where Node, npm or its registry are not at hand.
"""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from app.signatures import sign

OLD = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NEW = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
STRANGER = "whsec_" + base64.b64encode(bytes(range(2, 34))).decode()
BODY = '{"type":"order.succeeded","data":{"serial_number":"0812/SN ✓"}}'
_INSTALL_SECONDS = 90
_VERIFY_SECONDS = 30

_VERIFY = """
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
const { Webhook } = createRequire(process.cwd() + "/")(process.argv[2]);
const { secrets, headers, body } = JSON.parse(readFileSync(0, "utf8"));
const verified = secrets.map((secret) => {
  try {
    return JSON.stringify(new Webhook(secret).verify(body, headers)) === body;
  } catch (error) {
    return String(error.message);
  }
});
console.log(JSON.stringify(verified));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both packages in it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node and npm are not installed")
    made = tmp_path_factory.mktemp("node")
    (made / "package.json").write_text("{}")
    (made / "verify.mjs").write_text(_VERIFY)
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "standardwebhooks", "svix"]
    try:
        done = subprocess.run(
            command, cwd=made, capture_output=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm's registry does not answer")
    if done.returncode:
        pytest.skip(f"npm cannot install: {done.stderr.decode(errors='replace')[-200:]}")
    return made


def verify(folder: Path, package: str, signers: list[str], *secrets: str) -> list[object]:
    """What the package says, with each of these secrets, of what the signers signed."""
    now = int(time.time())
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(signers, "evt_1", now, BODY.encode()),
    }
    given = json.dumps({"secrets": secrets, "headers": headers, "body": BODY})
    done = subprocess.run(
        ["node", "verify.mjs", package],
        cwd=folder,
        input=given.encode(),
        capture_output=True,
        timeout=_VERIFY_SECONDS,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.timeout(_INSTALL_SECONDS + 2 * _VERIFY_SECONDS)
@pytest.mark.parametrize("package", ["standardwebhooks", "svix"])
def test_node_packages_verify_what_we_sign_with_either_secret(folder: Path, package: str) -> None:
    *either, refused = verify(folder, package, [NEW, OLD], NEW, OLD, STRANGER)
    assert either == [True, True]
    assert isinstance(refused, str)
    accepted, refused = verify(folder, package, [NEW], NEW, OLD)
    assert accepted is True
    assert isinstance(refused, str)
