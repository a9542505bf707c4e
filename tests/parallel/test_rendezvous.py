"""All processes meet, or it is said who did not come."""

import socket
import threading
import time

import pytest

from attention_jax.parallel.environment import Peers
from attention_jax.parallel.rendezvous import meet


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def together(address, count, numbers, timeout):
    """What each of some processes says at the end: "" where it goes on."""
    said = {}

    def one(place, number):
        try:
            meet(Peers(address, count, number), timeout)
            said[place] = ""
        except ValueError as error:
            said[place] = str(error)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(numbers)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(timeout=30)
    return [said[place] for place in range(len(numbers))]


def test_all_go_on_when_all_have_come(address):
    assert together(address, 3, [2, 0, 1], timeout=20.0) == ["", "", ""]
    # The port is free again for JAX's own coordinator.
    with socket.create_server(("127.0.0.1", int(address.split(":")[1]))):
        pass


def test_who_does_not_come_is_named_to_all(address):
    said = together(address, 4, [0, 2], timeout=1.0)
    assert said[0] == said[1]
    assert f"process 1, 3 of 4 did not come to {address} within 1 s" in said[0]


def test_without_the_first_nobody_goes_on(address):
    (said,) = together(address, 2, [1], timeout=1.0)
    assert f"process 0 of 2 did not come to {address} within 1 s" in said


def test_two_of_one_number_are_refused(address):
    said = together(address, 3, [0, 1, 1], timeout=20.0)
    assert all("two of them are 1" in line for line in said if line) and said[0]


def test_a_stranger_is_none_of_them(address):
    host, port = address.split(":")

    def knock():
        while True:
            try:
                with socket.create_connection((host, int(port))) as caller:
                    caller.sendall(b"GET / HTTP/1.1\n")
                    return
            except OSError:
                time.sleep(0.01)

    stranger = threading.Thread(target=knock, daemon=True)
    stranger.start()
    # The second of three comes later than the stranger may.
    assert together(address, 3, [0, 2, 1], timeout=20.0) == ["", "", ""]
    stranger.join(timeout=30)


def test_a_port_that_is_taken_is_named(address):
    host, port = address.split(":")
    with socket.create_server((host, int(port))):
        with pytest.raises(ValueError, match="must be a free port of this machine"):
            meet(Peers(address, 2, 0), 1.0)
