"""Streams that close: nothing fails, and lines come as they are written."""

import os
import subprocess
import sys
import threading

import pytest

from experiments.common import streams
from tests.support.paths import ROOT

LONG = """
from experiments.common import streams
import sys
streams.protect()
for number in range(100_000):
    print("line", number)
    print("word", number, file=sys.stderr)
assert not streams.is_read(sys.stdout)
open(sys.argv[1], "w").write("done")
"""
CLOSED = """
import sys
from experiments.common import streams
streams.protect()
assert list(streams.input_lines()) == [] and not sys.stdin.isatty()
print("nobody hears it")
print("nor this", file=sys.stderr)
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    file.write("done")
"""


def run(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, **options)


def test_a_closed_pipe_is_silence_and_the_work_is_done(tmp_path):
    process = run(LONG, tmp_path / "out", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 0 and said.count("\n") == 100_000 and "Traceback" not in said
    assert (tmp_path / "out").read_text() == "done"


def test_streams_that_were_closed_before_the_start_are_opened(tmp_path):
    code = f"{sys.executable} -c '{CLOSED}' {tmp_path / 'out'} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", code], cwd=ROOT, check=False).returncode == 0
    assert (tmp_path / "out").read_text() == "done"


FULL = """
import sys
from experiments.common import config, flags
def main():
    for number in range(3):
        print("line", number)
    open("out", "w").write("done")
flags.launch(main, config.DeviceFlags())
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_no_closed_pipe(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", FULL],
            cwd=tmp_path,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    # The work is done, and the end says that what was printed is not written.
    assert (tmp_path / "out").read_text() == "done"
    assert done.returncode == 1
    assert done.stderr == (
        "error: standard output is not written in full: No space left on device.\n"
    )


def test_lines_come_as_they_are_written():
    read, write = os.pipe()
    with open(read, encoding="utf-8") as reader, open(write, "w", encoding="utf-8") as writer:
        chunks = streams.in_chunks(reader, most=64)
        print("one", file=writer, flush=True)
        assert next(chunks) == ["one\n"]
        threading.Timer(0.2, lambda: print("two", file=writer, flush=True)).start()
        assert next(chunks) == ["two\n"]


def test_a_file_comes_in_chunks_that_grow():
    ready = threading.Event()

    def lines():
        yield from map(str, range(500))
        ready.set()

    chunks = streams.in_chunks(lines(), most=64)
    first = next(chunks)
    assert ready.wait(20)
    found = [first, *chunks]
    assert [x for chunk in found for x in chunk] == [str(x) for x in range(500)]
    assert len(first) <= 8 and max(map(len, found)) == 64


def test_an_error_comes_after_the_lines_before_it():
    def lines():
        yield "one"
        raise ValueError("bad line 2")

    chunks = streams.in_chunks(lines(), most=8)
    assert next(chunks) == ["one"]
    with pytest.raises(ValueError, match="bad line 2"):
        next(chunks)
