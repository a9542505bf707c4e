"""The application: addresses, limits, and errors as JSON."""

import asyncio
import json
import math
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from attention_jax.core.extras import needed
from experiments.common.served import Served, Writes
from experiments.serve import answers, asked
from experiments.serve.answers import Kind
from experiments.serve.asked import Refused
from experiments.serve.batches import Batcher, Closed, Full
from experiments.serve.config import LimitFlags

with needed("serve"):
    from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LATER = 1  # seconds after which a request that was sent away may be tried again
_FIELDS = {
    "translate": ("texts", "beam"),
    "generate": ("prompts", "tokens", "temperature", "seed"),
    "attention": ("source", "target"),
}


class Application:
    """Handlers of the addresses that a model answers.

    Args:
      served: the model.
      batcher: answers values of `answers.Kind`.
      limits: of requests.
      page: the page at the root.
      log: prints a line for each request.

    Attributes:
      written: tokens that are written where a request does not say how many.
    """

    def __init__(
        self, served: Served, batcher: Batcher, limits: LimitFlags, *, page: str, log: bool = False
    ):
        self._served, self._batcher, self._limits = served, batcher, limits
        self._page, self._log = page, log
        self.written = min(served.written, limits.most_written) if isinstance(served, Writes) else 0

    def application(self) -> web.Application:
        """The application, for a runner or a test."""
        own = web.Application(middlewares=[self._as_json], client_max_size=self._limits.most_bytes)
        own.router.add_get("/", self._root)
        own.router.add_get("/health", self._health)
        handlers: dict[str, Handler] = {
            "translate": self._translate,
            "generate": self._generate,
            "attention": self._attention,
        }
        for name, handler in handlers.items():
            is_served = name in answers.endpoints(self._served)
            own.router.add_post(f"/{name}", handler if is_served else self._not_served)
        return own

    async def _root(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=self._page, content_type="text/html")

    async def _health(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(
            {
                "status": "ok",
                "model": self._served.about,
                "serves": answers.endpoints(self._served),
                "waiting": self._batcher.waiting,
            }
        )

    async def _translate(self, request: web.Request) -> web.Response:
        found = asked.translation(await self._body(request), self._served, self._limits)
        # Of nothing the translation is nothing.
        texts = [text for text in found.texts if text.strip()]
        kinds = [Kind("translate", found.beam, self._served.bucket(text)) for text in texts]
        done = iter(await self._answers(kinds, texts))
        made = [next(done) if text.strip() else "" for text in found.texts]
        return web.json_response({"translations": made})

    async def _generate(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        found = asked.writing(body, self._served, self._limits, tokens=self.written)
        kinds = [
            Kind("generate", found.tokens, self._served.bucket(prompt.text))
            for prompt in found.prompts
        ]
        return web.json_response({"texts": await self._answers(kinds, found.prompts)})

    async def _attention(self, request: web.Request) -> web.Response:
        pair = asked.pair(await self._body(request), self._served, self._limits)
        kind = Kind("attention", None, self._served.bucket(pair.source))
        (found,) = await self._answers([kind], [pair])
        return web.json_response(found)

    async def _not_served(self, request: web.Request) -> web.Response:
        able = ", ".join(f"/{name}" for name in answers.endpoints(self._served))
        raise Refused(404, f"{request.path} must be what this model answers: {able}. Ask there.")

    async def _body(self, request: web.Request) -> dict[str, Any]:
        """The fields of a request, which arrives in time."""
        if request.content_type != "application/json":
            raise Refused(
                415,
                f"`Content-Type` must be application/json; got {request.content_type[:80]}. "
                "Send the header.",
            )
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                content = await request.read()
        except TimeoutError:
            raise Refused(
                408,
                f"the body must arrive within {self._limits.request_seconds:g} s. Send it anew.",
            ) from None
        known = _FIELDS[request.path.strip("/")]
        return asked.body(content, known, known[0])

    async def _answers(self, kinds: list[Kind], values: list[Any]) -> list[Any]:
        """The answers to values; those that wait are dropped where the client or the time goes."""
        try:
            futures = self._batcher.submit(kinds, values)
        except (Full, Closed) as error:
            raise Refused(503, str(error), retry_after=_LATER) from None
        seconds = self._limits.request_seconds
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.gather(*map(asyncio.wrap_future, futures))
        except TimeoutError:
            if not all([future.cancel() for future in futures]):  # what waited is canceled
                raise Refused(
                    504, f"an answer took more than {seconds:g} s. Ask for less at once."
                ) from None
            raise Refused(
                503,
                f"the server did not come to this request within {seconds:g} s. Ask again later.",
                retry_after=math.ceil(seconds),
            ) from None
        finally:
            for future in futures:
                future.cancel()

    @web.middleware
    async def _as_json(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers, errors as JSON; the client never sees a traceback."""
        start = time.perf_counter()
        status = 499  # as servers call a client that has gone
        try:
            response = await self._answered(request, handler)
            if self._batcher.is_closed:
                response.force_close()  # so that a client asks elsewhere, not here once more
            status = response.status
            return response
        finally:
            if self._log:
                took = 1e3 * (time.perf_counter() - start)
                line = f"{request.method} {request.path[:80]!r} {status} {took:.0f} ms"
                print(line, file=sys.stderr, flush=True)

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as error:
            later = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            return as_error(error.status, str(error), later)
        except web.HTTPRequestEntityTooLarge:
            most = self._limits.most_bytes
            return as_error(413, f"the body must have at most {most} bytes. Send less at once.")
        except web.HTTPException as error:
            allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            why = _SAID.get(error.status, error.reason)
            return as_error(error.status, f"{request.method} {request.path[:80]}: {why}", allowed)
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            return as_error(500, "the server failed at this request; its standard error says why.")


_SAID = {
    404: "there is no such address. GET / has a page, GET /health says what is served.",
    405: "the address takes another method; `Allow` names it.",
}


def as_error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    text = json.dumps({"error": message})
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)
