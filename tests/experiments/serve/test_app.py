"""The application over HTTP: answers, errors as JSON, limits, and clients that go away."""

import asyncio
import random
import time

import pytest

from tests.support.served_runs import TEXTS, Slow, asked


async def send(client, name, body, **options):
    """Status and JSON of an answer."""
    async with client.post(f"/{name}", json=body, **options) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


def test_a_run_translates_and_shows_its_attention(runs):
    served = runs["translation"].experiment.serve(runs["translation"], 4)
    direct = served.translate(TEXTS, None)

    async def ask(client):
        status, found = await send(client, "translate", {"texts": [TEXTS[0], " ", TEXTS[1]]})
        assert status == 200 and found == {"translations": [direct[0], "", direct[1]]}
        status, found = await send(client, "attention", {"source": "3 1 2", "target": "2"})
        assert status == 200 and set(found["maps"]) == {"encoder", "decoder", "cross"}
        head = found["maps"]["cross"][0][1]
        assert [len(row) for row in head] == [4, 4]
        assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in head)
        status, found = await send(client, "generate", {"prompts": ["a"]})
        assert status == 404 and "this model answers: /translate, /attention." in found["error"]

    asked(served, ask)


def test_many_clients_get_what_each_gets_alone(runs):
    """Texts of several lengths in requests of several sizes, at the same time."""
    served = runs["translation"].experiment.serve(runs["translation"], 4)
    alone = {text: served.translate([text], None)[0] for text in TEXTS}
    draw = random.Random(0)
    bodies = [[draw.choice(TEXTS) for _ in range(draw.randint(1, 5))] for _ in range(32)]

    async def ask(client):
        return await asyncio.gather(*(send(client, "translate", {"texts": b}) for b in bodies))

    for texts, (status, found) in zip(bodies, asked(served, ask), strict=True):
        assert status == 200 and found["translations"] == [alone[text] for text in texts]


def test_a_language_model_goes_on_with_texts(runs):
    served = runs["language"].experiment.serve(runs["language"], 4)

    async def ask(client):
        body = {"prompts": ["the", "cat"], "tokens": 5, "seed": 3, "temperature": 0.5}
        return [(await send(client, "generate", body)), (await send(client, "generate", body))]

    (status, found), again = asked(served, ask)
    assert status == 200 and [len(text) for text in found["texts"]] == [8, 8]
    assert found["texts"][0].startswith("the") and again == (status, found)


def test_requests_share_batches():
    model = Slow()

    async def ask(client):
        model.gate.clear()
        calls = [asyncio.ensure_future(send(client, "translate", {"texts": [t]})) for t in "abcd"]
        while len(model.begun) < 1 or (await health(client))["waiting"] < 4:
            await asyncio.sleep(0.01)
        model.gate.set()
        return [found["translations"] for _, found in await asyncio.gather(*calls)]

    assert asked(model, ask, wait_ms=1000) == [["a"], ["b"], ["c"], ["d"]]
    assert model.begun == [["a", "b"], ["c", "d"]]


async def health(client):
    async with client.get("/health") as response:
        assert response.status == 200
        return await response.json()


def test_health_says_what_is_served():
    found = asked(Slow(), health)
    assert found == {"status": "ok", "model": "reverses", "serves": ["translate"], "waiting": 0}


def test_the_page_is_one_file_that_asks_only_this_server():
    async def ask(client):
        async with client.get("/") as response:
            assert response.status == 200 and response.content_type == "text/html"
            return await response.text()

    page = asked(Slow(), ask)
    assert "connect-src 'self'" in page and "<label" in page and "http://" not in page
    assert 'max="8"' in page and "Temperature" not in page


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "said"),
    [
        ("GET", "/translate", {}, 405, "takes another method; `Allow` names it"),
        ("DELETE", "/health", {}, 405, "takes another method"),
        ("GET", "/nowhere", {}, 404, "there is no such address"),
        ("POST", "/generate", {"json": {}}, 404, "must be what this model answers: /translate."),
        ("POST", "/translate", {"data": b"{}"}, 415, "must be application/json; got application/"),
        ("POST", "/translate", {"json": {"texts": 3}}, 400, "`texts` must be a list of texts"),
        ("POST", "/translate", {"json": {"texts": ["a"], "b": 1}}, 400, "got 'b'. Leave it out."),
        ("POST", "/translate", {"json": {"texts": ["a" * 2000]}}, 413, "at most 900 bytes"),
        ("POST", "/translate", {"json": {"texts": ["fail"]}}, 500, "the server failed at this"),
    ],
)
def test_an_error_is_one_line_of_json(method, path, options, status, said):
    async def ask(client):
        async with client.request(method, path, **options) as response:
            return response.status, await response.json(), response.headers

    got, found, headers = asked(Slow(), ask, most_bytes=900)
    assert got == status and said in found["error"] and list(found) == ["error"]
    assert "Traceback" not in found["error"] and "secret" not in found["error"]
    assert ("Allow" in headers) == (status == 405)


def test_a_text_that_fails_takes_no_other_client_with_it(capsys):
    model = Slow()

    async def ask(client):
        calls = [send(client, "translate", {"texts": [text]}) for text in ("fail", "good")]
        return await asyncio.gather(*calls)

    (bad, _), (good, found) = asked(model, ask, wait_ms=1000)
    assert ["fail", "good"] in model.begun
    assert (bad, good) == (500, 200) and found == {"translations": ["doog"]}
    assert "as it was told" in capsys.readouterr().err


def test_a_client_that_goes_away_takes_its_waiting_work_with_it():
    model = Slow()

    async def ask(client):
        model.gate.clear()
        first = asyncio.ensure_future(send(client, "translate", {"texts": ["ab"]}))
        while not model.begun:
            await asyncio.sleep(0.01)
        gone = asyncio.ensure_future(send(client, "translate", {"texts": ["gone", "away"]}))
        while (await health(client))["waiting"] < 3:
            await asyncio.sleep(0.01)
        gone.cancel()
        while (await health(client))["waiting"] > 1:
            await asyncio.sleep(0.01)
        model.gate.set()
        return await first

    assert asked(model, ask) == (200, {"translations": ["ba"]})
    assert model.begun == [["ab"]]


def test_a_request_that_takes_too_long_is_given_up():
    """One whose answer has begun, and one that still waits, whose work is dropped."""
    model = Slow()

    async def ask(client):
        model.gate.clear()
        start = time.monotonic()
        first = asyncio.ensure_future(send(client, "translate", {"texts": ["ab"]}))
        while not model.begun:
            await asyncio.sleep(0.01)
        async with client.post("/translate", json={"texts": ["waits"]}) as response:
            waited = response.status, (await response.json())["error"], response.headers
        begun = await first
        assert time.monotonic() - start < 10
        model.gate.set()
        assert await send(client, "translate", {"texts": ["ok"]}) == (200, {"translations": ["ko"]})
        return begun, waited

    (begun, said), (waits, why, headers) = asked(model, ask, request_seconds=0.5)
    assert begun == 504 and "took more than 0.5 s" in said["error"]
    assert waits == 503 and "did not come to this request" in why and headers["Retry-After"] == "1"
    assert model.begun == [["ab"], ["ok"]]


def test_a_full_server_sends_requests_away():
    model = Slow()

    async def ask(client):
        model.gate.clear()
        calls = [asyncio.ensure_future(send(client, "translate", {"texts": ["a", "b"]}))]
        while not model.begun:
            await asyncio.sleep(0.01)
        async with client.post("/translate", json={"texts": ["c", "d"]}) as response:
            away = response.status, (await response.json())["error"], response.headers
        model.gate.set()
        assert (await calls[0])[0] == 200
        return away, await send(client, "translate", {"texts": ["c", "d"]})

    (status, said, headers), again = asked(model, ask, most_waiting=3, most_texts=2)
    assert status == 503 and "as many texts in work as it takes, 3" in said
    assert headers["Retry-After"] == "1" and again == (200, {"translations": ["c", "d"]})


def test_a_body_that_does_not_arrive_is_not_waited_for():
    async def slow_body():
        yield b'{"texts": '
        await asyncio.sleep(20)

    async def ask(client):
        headers = {"Content-Type": "application/json"}
        async with client.post("/translate", data=slow_body(), headers=headers) as response:
            return response.status, await response.json()

    status, found = asked(Slow(), ask, request_seconds=0.3)
    assert status == 408 and "must arrive within 0.3 s" in found["error"]


def test_a_connection_survives_bad_requests():
    async def ask(client):
        bodies = ({"texts": ["ab"]}, {"texts": 1}, {"texts": ["ab"]})
        return [(await send(client, "translate", body))[0] for body in bodies]

    assert asked(Slow(), ask) == [200, 400, 200]


def test_a_request_that_is_not_http_ends_without_a_traceback():
    async def ask(client):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(b"GARBAGE\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    answer = asked(Slow(), ask)
    assert answer.startswith(b"HTTP/1.") and b" 400 " in answer and b"Traceback" not in answer
