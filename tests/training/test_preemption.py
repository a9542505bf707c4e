"""Signals are recorded, and the handlers of before come back."""

import os
import signal
import threading
from pathlib import Path

import pytest

from attention_jax.training.preemption import Preempted, PreemptionGuard, outlive_requests_to_save


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def number(request):
    """A signal that is not ignored, as one is under `nohup`."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_the_first_signal_is_recorded_and_the_second_interrupts(number):
    before = signal.getsignal(number)
    with PreemptionGuard() as guard:
        assert guard.received == 0
        os.kill(os.getpid(), number)
        assert guard.received == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_request_to_save_is_none_to_stop():
    before = signal.getsignal(signal.SIGUSR1)
    with PreemptionGuard() as guard:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (guard.asked_to_save, guard.received) == (True, 0)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with PreemptionGuard() as guard:
            os.kill(os.getpid(), signal.SIGHUP)
            assert guard.received == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_request_to_save_that_comes_too_early_ends_nothing():
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        outlive_requests_to_save()
        os.kill(os.getpid(), signal.SIGUSR1)  # by default it would end this process
        with PreemptionGuard() as guard:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert guard.asked_to_save
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_says_what_a_second_one_does(capfd):
    with PreemptionGuard():
        os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == "stopping after this step; a second Ctrl-C stops at once\n"


def test_handlers_come_back_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(RuntimeError), PreemptionGuard():
        raise RuntimeError
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_other_threads_leave_the_handlers_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with PreemptionGuard() as guard:
            seen.append((signal.getsignal(signal.SIGTERM), guard.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, 0)]


def test_the_error_names_signal_step_folder_and_exit_code():
    error = Preempted(signal.SIGTERM, step=7, folder=Path("runs/mine"))
    assert str(error) == (
        "Stopped by SIGTERM after step 7; a checkpoint is in runs/mine/checkpoints. Repeat the "
        "command with --run=runs/mine --resume to continue."
    )
    assert (error.signal, error.exit_code) == (15, 143)
