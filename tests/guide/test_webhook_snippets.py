"""The guide's lines for verifying a webhook, run as they stand there by each language itself."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.signatures import new_secret, sign

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "webhooks.md"
BODY = '{"type":"order.succeeded","data":{"ref_id":"INV-1001","note":"café \\u0000 é"}}'.encode()
OLD, SECRET, FOREIGN = new_secret(), new_secret(), new_secret()


@dataclass(frozen=True, slots=True)
class Language:
    """How a snippet is run: its file, a file that calls it for every case, and the command."""

    fence: str
    interpreter: str
    snippet: str
    driver: str
    code: str
    command: Sequence[str]
    install: str


PYTHON = """
import base64, json, sys
from snippet import verify_webhook
def heard(case):
    try:
        verify_webhook(case["secret"], case["headers"], base64.b64decode(case["body"]))
    except ValueError:
        return False
    return True
print(json.dumps([heard(case) for case in json.load(open(sys.argv[1]))]))
"""

JAVASCRIPT = """
import { readFileSync } from "node:fs";
import { verifyWebhook } from "./snippet.mjs";
const heard = (one) => {
  try { verifyWebhook(one.secret, one.headers, Buffer.from(one.body, "base64")); return true; }
  catch { return false; }
};
console.log(JSON.stringify(JSON.parse(readFileSync(process.argv[2])).map(heard)));
"""

PHP = """<?php
require __DIR__ . '/snippet.php';
$heard = function (array $one): bool {
    try { verify_webhook($one['secret'], $one['headers'], base64_decode($one['body'])); }
    catch (RuntimeException) { return false; }
    return true;
};
echo json_encode(array_map($heard, json_decode(file_get_contents($argv[1]), true)));
"""

GO = """package main

import (
	"encoding/json"
	"net/http"
	"os"
	"time"
)

func main() {
	var cases []struct {
		Secret  string
		Headers map[string]string
		Body    []byte
	}
	text, _ := os.ReadFile(os.Args[1])
	if err := json.Unmarshal(text, &cases); err != nil {
		panic(err)
	}
	heard := []bool{}
	for _, one := range cases {
		header := http.Header{}
		for name, value := range one.Headers {
			header.Set(name, value)
		}
		heard = append(heard, VerifyWebhook(one.Secret, header, one.Body, 5*time.Minute) == nil)
	}
	json.NewEncoder(os.Stdout).Encode(heard)
}
"""

LANGUAGES = [
    Language("python", sys.executable, "snippet.py", "main.py", PYTHON, ("main.py",), "Python"),
    Language(
        "js", "node", "snippet.mjs", "main.mjs", JAVASCRIPT, ("main.mjs",), "apt-get install nodejs"
    ),
    Language(
        "php", "php", "snippet.php", "main.php", PHP, ("main.php",), "apt-get install php-cli"
    ),
    Language("go", "go", "snippet.go", "main.go", GO, ("run", "."), "apt-get install golang-go"),
]


def cases() -> list[tuple[bool, dict[str, object]]]:
    """Webhooks, and whether each is to be believed."""
    now = int(time.time())

    def webhook(
        secrets: Sequence[str] = (SECRET,),
        at: int = now,
        body: bytes = BODY,
        **changed: str | None,
    ) -> dict[str, object]:
        headers = {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(at),
            "webhook-signature": sign(secrets, "evt_1", at, BODY),
        }
        for name, value in changed.items():
            headers.pop(f"webhook-{name}")
            if value is not None:
                headers[f"webhook-{name}"] = value
        return {"secret": SECRET, "headers": headers, "body": base64.b64encode(body).decode()}

    return [
        (True, webhook()),
        (True, webhook((SECRET, OLD))),  # while a secret rotates, either half matches
        (True, webhook((OLD, SECRET))),
        (True, webhook(at=now - 240)),
        (False, webhook((FOREIGN,))),
        (False, webhook((OLD, FOREIGN))),
        (False, webhook(body=BODY + b" ")),
        (False, webhook(body=b"")),
        (False, webhook(at=now - 400)),
        (False, webhook(at=now + 400)),
        (False, webhook(id="evt_2")),
        (False, webhook(id=None)),
        (False, webhook(timestamp=None)),
        (False, webhook(timestamp="soon")),
        (False, webhook(timestamp=str(now + 1))),
        (False, webhook(signature=None)),
        (False, webhook(signature="")),
        (False, webhook(signature="v1,")),
        (False, webhook(signature=sign([SECRET], "evt_1", now, BODY).replace("v1,", "v1a,"))),
    ]


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda each: each.fence)
def test_a_snippet_believes_what_is_ours_and_nothing_else(
    language: Language, tmp_path: Path
) -> None:
    interpreter = shutil.which(language.interpreter)
    if interpreter is None:
        pytest.skip(f"{language.interpreter} is not at hand: {language.install}")
    found = re.findall(rf"^```{language.fence}\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert len(found) == 1
    (tmp_path / language.snippet).write_text(found[0])
    (tmp_path / language.driver).write_text(language.code)
    (tmp_path / "go.mod").write_text("module example.com/webhooks\n\ngo 1.19\n")
    expected, sent = zip(*cases(), strict=True)
    (tmp_path / "cases.json").write_text(json.dumps(sent))
    done = subprocess.run(
        [interpreter, *language.command, "cases.json"],
        cwd=tmp_path,
        env={**os.environ, "GOCACHE": str(tmp_path / "cache"), "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(expected)
