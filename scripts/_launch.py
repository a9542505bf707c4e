"""Several processes of one command on this machine, as `scripts/launch` starts them."""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

PASSED_ON = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
LOOK_EVERY, SETTLED_AFTER = 0.1, 1.0  # seconds
# A process that waits for one that is gone does not listen; one that saves a checkpoint takes long.
AFTER_FAILURE, AFTER_SIGNAL = 5.0, 120.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/launch", description=__doc__)
    parser.add_argument("-n", type=int, required=True, help="number of processes")
    parser.add_argument("--port", type=int, default=0, help="where they meet; default: a free one")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    given = parser.parse_args()
    command = given.command[given.command[:1] == ["--"] :]
    if given.n < 1 or not command:
        parser.error("-n must be at least 1, and a command must follow --.")
    processes = start(command, given.n, given.port or free_port())
    signalled: list[int] = []

    def pass_on(number: int, _: object) -> None:
        signalled.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    return wait(processes, signalled)


def start(command: Sequence[str], count: int, port: int) -> list[subprocess.Popen]:
    """Processes that know of each other; in sessions of their own, so that a Ctrl-C comes once."""
    gpus = visible_gpus()
    found = []
    for number in range(count):
        own = {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(number),
        }
        if gpus:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[number::count])
        # Locks that the caller hands on are held by those that work, should this one be killed.
        options = {"start_new_session": True, "close_fds": False}
        found.append(subprocess.Popen(command, env=os.environ | own, **options))
    return found


def wait(processes: Sequence[subprocess.Popen], signalled: Sequence[int]) -> int:
    """The exit code of the first process that fails, or 0."""
    failed: int | None = None
    until = 0.0
    while any(process.poll() is None for process in processes):
        codes = [process.poll() for process in processes]
        if failed is None and any(codes):
            # One that a signal ended, a negative code, brings those down that wait for it; the
            # system may take longer to end it than they do to notice.
            time.sleep(SETTLED_AFTER)
            failed = min(code for process in processes if (code := process.poll()))
            stopped = any(number != getattr(signal, "SIGUSR1", None) for number in signalled)
            until = time.monotonic() + (AFTER_SIGNAL if stopped else AFTER_FAILURE)
            if not stopped:
                end(processes, signal.SIGTERM)
        if failed is not None and time.monotonic() > until:
            end(processes, signal.SIGKILL)
        time.sleep(LOOK_EVERY)
    codes = [process.returncode for process in processes]
    code = failed or min((code for code in codes if code), default=0)
    if code and not signalled:
        print(f"scripts/launch: process {codes.index(code)} failed", file=sys.stderr)
    return 128 - code if code < 0 else code


def end(processes: Sequence[subprocess.Popen], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def visible_gpus() -> list[str]:
    """GPUs that processes may share, by the numbers that CUDA_VISIBLE_DEVICES takes."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [x for x in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if x]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


if __name__ == "__main__":
    sys.exit(main())
