"""The server as a process: its address, its end, and a load of good and bad requests."""

import asyncio
import json
import signal
import socket
import urllib.error
import urllib.request

import pytest
from aiohttp import web

from experiments.benchmark import rows, serving
from experiments.benchmark.serving_load import BAD, HANGS_UP, Load, put_load
from experiments.common import flags
from experiments.serve.config import ServeConfig, check
from experiments.serve.server import bound, listened, made
from tests.support.browser import PROGRAM, Browser
from tests.support.scripts import ENVIRONMENT, script
from tests.support.served_runs import TEXTS, Slow


def test_only_this_machine_is_let_in_without_a_word(capsys):
    with bound("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    assert capsys.readouterr().err == ""
    with bound("0.0.0.0", 0):
        said = capsys.readouterr().err
    assert "--host=0.0.0.0 lets other machines in" in said and said.count("\n") == 1


def test_an_address_that_cannot_be_is_refused():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ValueError, match="must be an address to listen at; got 127.0.0.1, "):
            bound("127.0.0.1", other.getsockname()[1])
    with pytest.raises(ValueError, match="must be an address to listen at; got no..host, 80"):
        bound("no..host", 80)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"what is this\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    ],
)
def test_what_is_no_http_is_answered_in_json_too(request_bytes, status):
    async def answer(listener):
        application, batcher = made(Slow(), ServeConfig(), name="test")
        runner = web.AppRunner(application.application())
        await runner.setup()
        listening = await listened(runner, listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(request_bytes)
        found = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        listening.close()
        await asyncio.to_thread(batcher.close, 20)
        await runner.cleanup()
        return found

    with bound("127.0.0.1", 0) as listener:
        found = asyncio.run(answer(listener))
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert b"content-type: application/json" in head.lower()
    said = json.loads(body)
    assert list(said) == ["error"] if status == 400 else said["status"] == "ok"
    assert status == 200 or said["error"].startswith("the request must be HTTP: ")
    assert b"\n" not in body


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"most_texts": 9, "most_waiting": 8}, "`--most_waiting` must hold the texts of a request"),
        ({"nbest": 2}, "`--nbest` does not go with a server"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        check(flags.replace(ServeConfig(), **changes))
    check(ServeConfig())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "`--run` or `--pretrained` must name a model; got --run=None"),
        (["--run=FOLDER", "--pretrained=a"], "Give one of the two."),
        (["--pretrained=missing"], "missing"),
        (["--run=FOLDER", "--port=70000"], "port"),
        (["--run=FOLDER", "--host=no..host"], "must be an address to listen at"),
        (["--run=FOLDER", "--rows=0"], "rows"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_line(arguments, said, run_folders):
    own = [x.replace("FOLDER", str(run_folders["translation"])) for x in arguments]
    done = script("serve", *own)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def environment(monkeypatch):
    for name in ("JAX_PLATFORMS", "XLA_FLAGS"):
        monkeypatch.setenv(name, ENVIRONMENT[name])


def expected_of(run):
    served = run.experiment.serve(run, 8)
    return {text: served.translate([text], None)[0] for text in TEXTS}


@pytest.mark.slow
def test_a_server_stands_a_load_of_good_and_bad_requests(run_folders, runs, environment):
    """Every answer is that of its text alone, and memory does not grow."""
    expected = expected_of(runs["translation"])
    with serving.server(run_folders["translation"], ["--warm_up=16"]) as (process, address):
        asyncio.run(put_load(address, expected, Load(8, 5.0, bad=0.3)))
        before = serving.resident_bytes(process.pid)
        tally = asyncio.run(put_load(address, expected, Load(8, 20.0, bad=0.3, seed=1)))
        after = serving.resident_bytes(process.pid)
        with urllib.request.urlopen(f"{address}/health") as response:
            assert json.load(response)["waiting"] == 0
    assert not tally.wrong, tally.wrong[:3]
    assert tally.outcomes["answered"] > 50
    assert all(tally.outcomes[kind] for kind in [*BAD, HANGS_UP])
    assert after < 1.05 * before
    assert process.returncode == 0


@pytest.mark.slow
def test_an_end_under_load_answers_what_has_begun(run_folders, runs, environment):
    expected = expected_of(runs["translation"])

    async def end(process, address):
        load = asyncio.create_task(put_load(address, expected, Load(8, 6.0, bad=0.0)))
        await asyncio.sleep(2)
        process.send_signal(signal.SIGTERM)
        return await load

    with serving.server(run_folders["translation"], ["--warm_up=16"]) as (process, address):
        tally = asyncio.run(end(process, address))
        assert process.wait(60) == 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{address}/health")
    # Sent away, or no connection; one that is lost with a request under way reads otherwise.
    refused = (": 503 ", ": 0 ClientConnectorError", ": 0 ClientOSError: [Errno 104]")
    wrong = [line for line in tally.wrong if not any(x in line for x in refused)]
    assert tally.seconds and tally.wrong and not wrong, wrong[:3]


@pytest.mark.slow
def test_the_benchmark_writes_its_numbers(run_folders, tmp_path):
    output = tmp_path / "serving.json"
    arguments = ["--clients=2", "--seconds=3", "--texts=3", f"--output={output}"]
    done = script("benchmark.serving", f"--run={run_folders['translation']}", *arguments)
    assert done.returncode == 0, done.stderr
    (row,) = rows.read(output).rows
    assert row.case["clients"] == 2 and row.facts["wrong"] == 0
    assert row.ours_ms == row.facts["median_ms"] <= row.facts["p95_ms"] <= row.facts["most_ms"]
    assert len(row.facts["resident_bytes"]) == 3 and min(row.facts["resident_bytes"]) > 2**24


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")
def test_the_page_translates_by_keyboard(run_folders, runs, environment, tmp_path):
    expected = expected_of(runs["translation"])
    with serving.server(run_folders["translation"], ["--warm_up=8"]) as (_, address):
        browser = Browser(tmp_path)
        try:
            browser.open(f"{address}/")
            browser.wait("document.activeElement && document.readyState === 'complete'")
            while browser.evaluate("document.activeElement.id") != "text":
                browser.key("Tab")
            browser.send("Input.insertText", text="3 1 2")
            while browser.evaluate("document.activeElement.tagName") != "BUTTON":
                browser.key("Tab")
            browser.key("Enter")
            browser.wait("!document.getElementById('looked').hidden", seconds=60)
            shown = browser.evaluate("document.getElementById('answer').textContent")
            rows_and_columns = browser.evaluate(
                "['tr', 'tr:last-child td'].map(x => "
                "document.querySelectorAll(`#matrix tbody ${x}`).length)"
            )
        finally:
            browser.close()
    assert shown == expected["3 1 2"] and rows_and_columns[1] == 4
    assert rows_and_columns[0] >= len(shown.split())
    assert not browser.errors and all(x.startswith(address) for x in browser.requests)
