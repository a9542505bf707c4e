"""A meeting of all processes before JAX connects them, so that it can be said who does not come.

Process 0 listens where JAX's coordinator will, the others tell their numbers, and all go on once
each has come. JAX itself ends a process by a signal where another is missing.
"""

import contextlib
import socket
import time

from attention_jax.parallel.environment import Peers

_HELLO, _GO = "attention_jax", "go"
_AGAIN = 0.2  # seconds between two tries to reach process 0


def meet(peers: Peers, timeout_seconds: float) -> None:
    """Waits until all processes have come.

    Raises:
      ValueError: one did not come in time, or two have one number.
    """
    host, _, port = peers.address.rpartition(":")
    until = time.monotonic() + timeout_seconds
    if peers.number == 0:
        _gather(peers, (host, int(port)), until, timeout_seconds)
    else:
        _report(peers, (host, int(port)), until, timeout_seconds)


def _gather(peers: Peers, address: tuple[str, int], until: float, timeout_seconds: float) -> None:
    came: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(_listener(address))
        while len(came) < peers.count - 1:
            listener.settimeout(max(until - time.monotonic(), 0.01))
            try:
                caller = open_sockets.enter_context(listener.accept()[0])
            except TimeoutError:
                said = _missing(peers, set(came), timeout_seconds)
                _tell(list(came.values()), said)
                raise ValueError(said) from None
            number = _number(caller, peers)
            if number is None:
                continue
            if number in came or not 0 < number < peers.count:
                said = (
                    f"`JAX_PROCESS_ID` must differ in all of the {peers.count} processes; two of "
                    f"them are {number}. Start each with its own."
                )
                _tell([*came.values(), caller], said)
                raise ValueError(said)
            came[number] = caller
        _tell(list(came.values()), _GO)
        for caller in came.values():  # who closes first keeps the port busy for a while
            with contextlib.suppress(OSError):
                caller.recv(1)


def _report(peers: Peers, address: tuple[str, int], until: float, timeout_seconds: float) -> None:
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise ValueError(
                f"process 0 of {peers.count} did not come to {peers.address} within "
                f"{timeout_seconds:.0f} s, so process {peers.number} waits in vain. Start it, or "
                "wait longer by --distributed_timeout."
            )
        try:
            with socket.create_connection(address, timeout=left) as caller:
                caller.sendall(f"{_HELLO} {peers.number}\n".encode())
                # Process 0 knows sooner that someone is missing.
                caller.settimeout(timeout_seconds + 10)
                said = _line(caller)
        except OSError:
            said = ""
        if said == _GO:
            return
        if said:
            raise ValueError(said)
        time.sleep(_AGAIN)


def _listener(address: tuple[str, int]) -> socket.socket:
    try:
        return socket.create_server(address)
    except socket.gaierror:
        return socket.create_server(("", address[1]))
    except OSError as error:
        raise ValueError(
            f"`JAX_COORDINATOR_ADDRESS` must be a free port of this machine; {address[0]}:"
            f"{address[1]} is not ({error.strerror}). Choose another port."
        ) from None


def _number(caller: socket.socket, peers: Peers) -> int | None:
    """The number that a caller says; None where it is none of us."""
    caller.settimeout(10)
    try:
        hello, _, number = _line(caller).partition(" ")
    except OSError:
        return None
    return int(number) if hello == _HELLO and number.isdecimal() else None


def _line(caller: socket.socket) -> str:
    with caller.makefile("r", encoding="utf-8") as file:
        return file.readline().strip()


def _tell(callers: list[socket.socket], said: str) -> None:
    for caller in callers:
        with contextlib.suppress(OSError):
            caller.sendall(f"{said}\n".encode())


def _missing(peers: Peers, came: set[int], timeout_seconds: float) -> str:
    absent = sorted(set(range(1, peers.count)) - came)
    shown = ", ".join(map(str, absent[:8])) + (" and others" if len(absent) > 8 else "")
    return (
        f"process {shown} of {peers.count} did not come to {peers.address} within "
        f"{timeout_seconds:.0f} s. Start it, look at its log, or wait longer by "
        "--distributed_timeout."
    )
