"""A server's life: it listens once its programs are compiled, and ends what it has begun."""

import asyncio
import ipaddress
import signal
import socket
import sys
from functools import partial
from pathlib import Path

from attention_jax.analysis import pages
from attention_jax.core.extras import needed
from attention_jax.core.wording import one_line
from experiments.common.served import Served
from experiments.serve import answers
from experiments.serve.app import Application, as_error
from experiments.serve.batches import Batcher
from experiments.serve.config import ServeConfig

with needed("serve"):
    from aiohttp import web

_FAILED, _REASON = 500, 200  # the first status of servers that fail; characters of a reason
_IDLE = 15.0  # seconds after which a connection that asks nothing is closed
_PAGE = Path(__file__).with_name("serve.html")


def serve(served: Served, config: ServeConfig, *, name: str) -> None:
    """Serves a model until SIGTERM or SIGINT.

    Args:
      served: the model.
      config: address and limits.
      name: of what is served, for people.

    Raises:
      ValueError: nobody can listen at the address.
    """
    listener = bound(config.host, config.port)
    with listener:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        own = ", ".join(f"/{endpoint}" for endpoint in answers.endpoints(served))
        print(f"{name}: {served.about}. Serves {own}; compiles.", flush=True)
        application, batcher = made(served, config, name=name)
        warmed = answers.warm_up(served, tokens=config.batches.warm_up, written=application.written)
        if warmed:
            print(f"compiled for texts of up to {config.batches.warm_up} tokens", flush=True)
        asyncio.run(_until_signal(application, batcher, listener, config, address))


def made(served: Served, config: ServeConfig, *, name: str) -> tuple[Application, Batcher]:
    """The application of a model, and the batcher that it asks."""
    batcher = Batcher(
        answers.answer_with(served),
        rows=served.rows,
        wait_seconds=config.batches.batch_wait_ms / 1e3,
        most_waiting=config.limits.most_waiting,
    )
    page = pages.render(
        _PAGE,
        title=name,
        about=served.about,
        endpoints=answers.endpoints(served),
        takes=sorted(served.takes),
        limits=config.limits,
    )
    return Application(served, batcher, config.limits, page=page, log=config.log), batcher


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet; others than this machine's are said.

    Raises:
      ValueError: the address is none, or is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"`--host` and `--port` must be an address to listen at; got {host}, {port}: {why}. "
            "Name another; --port=0 takes any that is free."
        ) from None
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        print(
            f"--host={host} lets other machines in: whoever reaches port "
            f"{listener.getsockname()[1]} may ask, without a password or encryption",
            file=sys.stderr,
        )
    return listener


class Connection(web.RequestHandler):
    """A connection that answers in JSON to what is no HTTP too, which no application sees."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer; the connection is closed after it."""
        super().handle_error(request, status, exc, message)  # which logs, or raises
        why = one_line(message or "")[:_REASON]
        said = "the request must be HTTP" if status < _FAILED else "the server failed"
        found = as_error(status, f"{said}{': ' if why else ''}{why}. Send it anew.")
        found.force_close()
        return found


async def listened(runner: web.AppRunner, listener: socket.socket) -> asyncio.Server:
    """A server that takes connections at a socket for an application, which is set up."""
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None
    own = {"loop": loop, "access_log": None, "keepalive_timeout": _IDLE}
    return await loop.create_server(partial(Connection, server, **own), sock=listener, backlog=128)


async def _until_signal(
    application: Application,
    batcher: Batcher,
    listener: socket.socket,
    config: ServeConfig,
    address: str,
) -> None:
    """Answers until a signal; then ends what has begun, and refuses what is new."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Handlers end where their clients go.
    runner = web.AppRunner(
        application.application(),
        handler_cancellation=True,
        shutdown_timeout=config.limits.request_seconds,
    )
    await runner.setup()
    listening = await listened(runner, listener)
    print(f"ready: {address}", flush=True)
    await stop.wait()
    print("ends what has begun", flush=True)
    listening.close()
    await asyncio.to_thread(batcher.close, config.limits.request_seconds)
    await runner.cleanup()
