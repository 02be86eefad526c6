"""A small shop that sells top-ups through Jalur. Python 3.11 or newer, nothing to install.

    JALUR_URL=http://127.0.0.1:8080 JALUR_KEY=jalur_test_… python3 shop.py

    curl -d '{"sku": "S10", "number": "081234567800"}' http://127.0.0.1:9000/sales
    curl http://127.0.0.1:9000/sales/SHOP-1

What it shows: the reference is stored before the order is sent; an unclear answer is followed by
the same order; webhooks are verified, worked on once, and never overwrite newer news with older;
what was missed while the shop was closed is read when it opens.
"""

import base64
import hmac
import json
import os
import random
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JALUR = os.environ.get("JALUR_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("JALUR_KEY", "")
PORT = int(os.environ.get("SHOP_PORT", "9000"))
SHOP = os.environ.get("SHOP_URL", f"http://127.0.0.1:{PORT}")
FILE = os.environ.get("SHOP_FILE", "shop.sqlite")

TRIES = 6
TIMEOUT_SECONDS = 30
MOST_BYTES = 65_536
TABLES = """
create table if not exists sales (
    number integer primary key, sku text not null, customer_number text not null,
    status text not null default 'new', version integer not null default 0,
    serial_number text, why text);
create table if not exists heard (webhook_id text primary key);
create table if not exists memory (name text primary key, value text not null);
"""


# ---------------------------------------------------------------- the shop's own books


def books():
    """A connection to the books; `with closing(books()) as db, db:` commits at its end."""
    db = sqlite3.connect(FILE, timeout=30)
    db.row_factory = sqlite3.Row
    return db


def remembered(name):
    with closing(books()) as db:
        row = db.execute("select value from memory where name = ?", (name,)).fetchone()
    return row and row["value"]


def remember(name, value):
    with closing(books()) as db, db:
        db.execute("insert or replace into memory values (?, ?)", (name, value))


def sale(number):
    with closing(books()) as db:
        row = db.execute("select * from sales where number = ?", (number,)).fetchone()
    return row and dict(row, ref_id=f"SHOP-{number}")


def take_over(db, order):
    """Write what Jalur says about an order, unless we know something newer."""
    failure = order["failure"] or {}
    db.execute(
        "update sales set status = ?, version = ?, serial_number = ?, why = ?"
        " where number = ? and version < ?",
        (
            *(order["status"], order["version"], order["serial_number"], failure.get("code")),
            *(order["ref_id"].removeprefix("SHOP-"), order["version"]),
        ),
    )


# ---------------------------------------------------------------- Jalur


def call(method, path, body=None):
    """One request: status and answer. Raises OSError where no answer came."""
    request = urllib.request.Request(
        JALUR + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def order(sold):
    """Send a sale to Jalur until there is a clear answer: the same order, every time."""
    wanted = {
        "ref_id": f"SHOP-{sold['number']}",
        "sku": sold["sku"],
        "customer_number": sold["customer_number"],
    }
    for attempt in range(TRIES):
        try:
            status, answer = call("POST", "/v1/orders", wanted)
        except (OSError, ValueError):  # no answer, or not from Jalur
            status, answer = 503, {}
        if status in (200, 202):
            with closing(books()) as db, db:
                take_over(db, answer)
            return
        if status < 500 and status != 429:  # a clear no: nothing was ordered
            with closing(books()) as db, db:
                db.execute(
                    "update sales set status = 'refused', why = ? where number = ? and version = 0",
                    (answer["code"], sold["number"]),
                )
            return
        time.sleep(min(60, 2**attempt) * random.uniform(0.8, 1.2))
    # Still unclear: the sale stays 'new', and is sent again when the shop opens next.


def verify(secret, headers, body, tolerance_seconds=300):
    """Raise ValueError unless `body` (bytes) was signed with `secret` a moment ago."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > tolerance_seconds:
        raise ValueError("the webhook is too old or from the future")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    signatures = headers.get("webhook-signature", "").encode().split(b" ")
    if not any(hmac.compare_digest(expected, given) for given in signatures):
        raise ValueError("the signature is wrong")


def hear(webhook_id, event):
    """Work on an event, once, whichever way it came."""
    with closing(books()) as db, db:
        new = db.execute("insert or ignore into heard values (?)", (webhook_id,)).rowcount
        if new and event["type"].startswith("order."):
            take_over(db, event["data"])


def open_shop():
    """Ask for webhooks, the first time; then catch up with what was missed."""
    if not remembered("secret"):
        status, endpoint = call("POST", "/v1/webhook-endpoints", {"url": f"{SHOP}/jalur"})
        if status != 201:
            raise SystemExit(f"Jalur refuses our webhook address: {endpoint['detail']}")
        remember("secret", endpoint["secret"])
    more = True
    while more:
        cursor = remembered("cursor")
        status, page = call("GET", "/v1/events?limit=100" + (f"&cursor={cursor}" if cursor else ""))
        if status != 200:
            raise SystemExit(f"Jalur does not tell us its events: {page['detail']}")
        for event in page["data"]:
            hear(event["id"], event)
        more = page["has_more"]
        if page["next_cursor"]:
            remember("cursor", page["next_cursor"])
    with closing(books()) as db:
        unsent = db.execute("select * from sales where status = 'new'").fetchall()
    for sold in unsent:
        order(sold)


# ---------------------------------------------------------------- the shop's door


class Door(BaseHTTPRequestHandler):
    def do_GET(self):
        number = self.path.removeprefix("/sales/SHOP-")
        found = sale(int(number)) if number.isdecimal() else None
        self.answer(200 if found else 404, found or {"error": "no such sale"})

    def do_POST(self):
        length = int(self.headers.get("content-length", "0"))
        if length > MOST_BYTES:
            self.answer(413, {"error": "too large"})
        elif self.path == "/jalur":
            self.webhook(self.rfile.read(length))
        elif self.path == "/sales":
            self.sell(json.loads(self.rfile.read(length)))
        else:
            self.answer(404, {"error": "nothing here"})

    def webhook(self, body):
        try:
            headers = {name.lower(): value for name, value in self.headers.items()}
            verify(remembered("secret") or "", headers, body)
        except ValueError as fault:
            self.answer(400, {"error": str(fault)})
            return
        hear(headers["webhook-id"], json.loads(body))
        self.answer(200, {})

    def sell(self, wanted):
        with closing(books()) as db, db:  # the reference is safe before anything is sent
            number = db.execute(
                "insert into sales (sku, customer_number) values (?, ?)",
                (wanted["sku"], wanted["number"]),
            ).lastrowid
        order(sale(number))
        self.answer(201, sale(number))

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing: a log of addresses would hold customers' numbers."""


def main():
    with closing(books()) as db:
        db.executescript(TABLES)
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Door)
    threading.Thread(target=open_shop).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
