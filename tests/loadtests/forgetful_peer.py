"""A peer that keeps its orders in memory, buys each a moment later, and now and then buys twice.

python -m tests.loadtests.forgetful_peer --port N --upstream URL --receiver URL
"""

import argparse
import asyncio
from contextlib import closing

import orjson
import uvloop

from dealers.simulator.connection import Answer, Request, listen, on_wire, serve
from loadtests.caller import Caller, request_head
from loadtests.orders import read_reference

ONE_IN = 10
"""Every tenth order is bought twice and reported twice."""
_PAUSE_SECONDS = 0.05
_ACCEPTED = Answer(on_wire(b"{}", b"application/json", 202))


async def live(port: int, upstream: str, receiver: str) -> None:
    waiting: asyncio.Queue[str] = asyncio.Queue()

    def respond(request: Request) -> Answer:
        waiting.put_nowait(orjson.loads(request.body)["ref_id"])
        return _ACCEPTED

    async def buy() -> None:
        with closing(Caller(upstream, 5)) as dealer, closing(Caller(receiver, 5)) as reseller:
            while True:
                ours = await waiting.get()
                body = orjson.dumps({"ref_id": ours})
                head = request_head("POST", f"{upstream}/purchases")
                report = request_head("GET", f"{receiver}/reports/{ours}?type=8") + b"\r\n"
                for _ in range(2 if read_reference(ours)[0] % ONE_IN == 0 else 1):
                    await dealer.ask(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
                    await reseller.ask(report)
                await asyncio.sleep(_PAUSE_SECONDS)

    with listen(port) as listener:
        async with asyncio.TaskGroup() as group:
            buying = group.create_task(buy())
            await serve(respond, listener)
            buying.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("--port", "--upstream", "--receiver"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    uvloop.run(live(int(given.port), given.upstream, given.receiver))
