"""Buyers that speak each protocol by hand, so that the simulator's words are judged apart from
the code that the router reads them with."""

import hashlib
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.dealers.simulator.receiver import Received


@dataclass(frozen=True)
class Word:
    kind: str
    code: str = ""
    serial_number: str = ""


class Buyer(Protocol):
    dealer_id: str

    def buy(self, number: str, ref: str, sku: str = "S5", timeout_seconds: float = 5) -> Word: ...

    def status(self, number: str, ref: str) -> Word: ...

    def balance(self) -> int: ...

    def read_callback(self, received: Received) -> tuple[str, Word]: ...


def plain_client(timeout_seconds: float = 5) -> httpx.Client:
    """A client for plain HTTP: reading the certificates would cost more than the calls."""
    return httpx.Client(timeout=timeout_seconds, trust_env=False, verify=False)


def _sent(call: httpx.Request, timeout_seconds: float) -> httpx.Response | Word:
    try:
        with plain_client(timeout_seconds) as client:
            answer = client.send(call)
    except httpx.TimeoutException:
        return Word("timeout")
    except httpx.TransportError:
        return Word("cut")
    return answer if answer.status_code == 200 else Word(f"http-{answer.status_code}")


_KINDS = {"00": "succeeded", "03": "pending", "53": "failed", "54": "failed", "74": "refunded"}


class DigiflazzBuyer:
    dealer_id = "mitra"

    def __init__(self, url: str, api_key: str = "kunci") -> None:
        self.url, self.api_key = f"{url}/{self.dealer_id}", api_key

    def post(self, page: str, signed: str, **fields: object) -> httpx.Request:
        sign = hashlib.md5(f"toko{self.api_key}{signed}".encode()).hexdigest()
        body = {"username": "toko", "sign": sign} | fields
        return httpx.Request("POST", f"{self.url}/{page}", json=body)

    def buy(
        self, number: str, ref: str, sku: str = "S5", timeout_seconds: float = 5, **more: object
    ) -> Word:
        fields = {"buyer_sku_code": sku, "customer_no": number, "ref_id": ref, "max_price": 5500}
        answer = _sent(self.post("transaction", ref, **fields | more), timeout_seconds)
        return answer if isinstance(answer, Word) else self.read(answer.content)

    def status(self, number: str, ref: str) -> Word:
        return self.buy(number, ref)

    def balance(self) -> int:
        answer = _sent(self.post("cek-saldo", "depo", cmd="deposit"), 5)
        assert isinstance(answer, httpx.Response)
        return answer.json()["data"]["deposit"]

    def read(self, body: bytes) -> Word:
        try:
            data = httpx.Response(200, content=body).json()["data"]
        except ValueError:
            return Word("garbage")
        kind = _KINDS.get(data["rc"], "rejected")
        status = {"succeeded": "Sukses", "pending": "Pending"}.get(kind, "Gagal")
        assert data["status"] == status
        return Word(kind, data["rc"], data["sn"])

    def read_callback(self, received: Received) -> tuple[str, Word]:
        data = httpx.Response(200, content=received.body).json()["data"]
        return data["ref_id"], self.read(received.body)


class OtomaxBuyer:
    dealer_id = "sentra"

    def __init__(self, url: str, pin: str = "1144") -> None:
        self.url, self.pin = f"{url}/{self.dealer_id}", pin

    def sign(self, *middle: str) -> str:
        text = "|".join(("OtomaX", *middle, self.pin, "abcd"))
        return urlsafe_b64encode(hashlib.sha1(text.encode()).digest()).rstrip(b"=").decode()

    def trx(self, number: str, ref: str, sku: str, **more: str) -> httpx.Request:
        query = {
            "memberID": "YUSUF",
            "product": sku,
            "qty": "1",
            "dest": number,
            "refID": ref,
            "sign": self.sign("YUSUF", sku, number, ref),
        }
        return httpx.Request("GET", f"{self.url}/trx", params=query | more)

    def buy(self, number: str, ref: str, sku: str = "S5", timeout_seconds: float = 5) -> Word:
        answer = _sent(self.trx(number, ref, sku), timeout_seconds)
        return answer if isinstance(answer, Word) else self.read(answer.content)

    def status(self, number: str, ref: str) -> Word:
        answer = _sent(self.trx(number, ref, "S5", check="1"), 5)
        return answer if isinstance(answer, Word) else self.read(answer.content)

    def balance(self) -> int:
        query = {"memberID": "YUSUF", "sign": self.sign("CheckBalance", "YUSUF")}
        answer = _sent(httpx.Request("GET", f"{self.url}/balance", params=query), 5)
        assert isinstance(answer, httpx.Response)
        return int(answer.text.removeprefix("Saldo "))

    def read(self, body: bytes) -> Word:
        text = body.decode("ascii", "replace")
        stored = re.fullmatch(r"T#\d+ R#\w+ \w+\.\d+ (.+)", text)
        if stored is None:
            return self._read_unstored(text)
        words = stored[1]
        if serial := re.fullmatch(r"SUKSES\. SN: (\d*)\. Harga 5000\. Saldo -?\d+", words):
            return Word("succeeded", "SUKSES", serial[1])
        if failed := re.fullmatch(r"GAGAL\. (.+)\. Saldo -?\d+", words):
            return Word("failed", failed[1])
        if re.fullmatch(r"REFUND\. Saldo -?\d+", words):
            return Word("refunded", "REFUND")
        assert re.fullmatch(r"akan diproses\. Saldo -?\d+|Sedang Diproses", words)
        return Word("pending", words.split(". ")[0])

    def _read_unstored(self, text: str) -> Word:
        if refused := re.fullmatch(r"R#\w+ \w+\.\d+ GAGAL\. (.+)", text):
            return Word("rejected", refused[1])
        if re.fullmatch(r"R#\w+ Tidak Ada Data", text):
            return Word("not-found")
        if re.fullmatch(r"R#\w+ Transaksi Dobel", text):
            return Word("repeat")
        return Word("garbage")

    def read_callback(self, received: Received) -> tuple[str, Word]:
        query = {
            name: values[0] for name, values in parse_qs(urlsplit(received.path).query).items()
        }
        word = self.read(query["message"].encode())
        assert query["status"] == ("20" if word.kind == "succeeded" else "40")
        assert query["message"].startswith(f"T#{query['t']} R#{query['refid']} ")
        return query["refid"], word


_JALUR_KINDS = {"accepted": "pending", "processing": "pending", "reversed": "refunded"}


class JalurBuyer:
    dealer_id = "hulu"

    def __init__(self, url: str, api_key: str = "kunci") -> None:
        self.url, self.headers = f"{url}/{self.dealer_id}", {"authorization": f"Bearer {api_key}"}

    def send(
        self, method: str, page: str, timeout_seconds: float = 5, **content: Any
    ) -> httpx.Response | Word:
        address = f"{self.url}/v1/{page}"
        call = httpx.Request(method, address, headers=self.headers, **content)
        try:
            with plain_client(timeout_seconds) as client:
                return client.send(call)
        except httpx.TimeoutException:
            return Word("timeout")
        except httpx.TransportError:
            return Word("cut")

    def buy(
        self, number: str, ref: str, sku: str = "S5", timeout_seconds: float = 5, **more: object
    ) -> Word:
        body = {"ref_id": ref, "sku": sku, "customer_number": number, "max_charge": 5500} | more
        answer = self.send("POST", "orders", timeout_seconds, json=body)
        if isinstance(answer, Word):
            return answer
        if answer.status_code >= 500:
            return Word(f"http-{answer.status_code}")
        return self.read(answer)

    def status(self, number: str, ref: str) -> Word:
        answer = self.send("GET", "orders", params={"ref_id": ref})
        assert isinstance(answer, httpx.Response)
        found = answer.json()
        assert (found["ref_id"], found["has_more"]) == (ref, False)
        return self.word(found["data"][0]) if found["data"] else Word("not-found")

    def balance(self) -> int:
        answer = self.send("GET", "balance")
        assert isinstance(answer, httpx.Response)
        return answer.json()["available"]

    def read(self, answer: httpx.Response) -> Word:
        try:
            document = answer.json()
        except ValueError:
            return Word("garbage")
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert document["status"] == answer.status_code
            return Word("rejected", document["code"])
        return self.word(document)

    def word(self, order: dict[str, Any]) -> Word:
        kind = _JALUR_KINDS.get(order["status"], order["status"])
        code = (order["failure"] or {"code": ""})["code"]
        return Word(kind, code, order["serial_number"] or "")

    def read_callback(self, received: Received) -> tuple[str, Word]:
        event = httpx.Response(200, content=received.body).json()
        order = event["data"]
        told = event["type"].removeprefix("order.")
        expected = {"corrected": "succeeded", "updated": "succeeded"}.get(told, told)
        assert order["status"] == expected
        return order["ref_id"], self.word(order)
