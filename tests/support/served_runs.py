"""Tiny runs that tests serve, a client for them, and a model that takes its time."""

import asyncio
import threading
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from experiments.serve.config import BatchFlags, LimitFlags, ServeConfig
from experiments.serve.server import made

_BASE = "--width=16 --heads=2 --layers=1 --feed_forward=16 --steps=1".split()
SIZES = {
    "translation": [
        *_BASE,
        *(
            "--task=reverse --task_option=vocabulary=8 --task_option=train_size=16 "
            "--task_option=validation_size=4 --task_option=test_size=4 --task_option=max_length=4 "
            "--task_option=longer_length=6 --max_length=8 --tokens_per_batch=64 "
            "--evaluate_sentences=2"
        ).split(),
    ],
    "language": [
        *_BASE,
        *"--text_file=TEXT --context=16 --windows=2 --characters=12 --temperature=0.8".split(),
    ],
}
TEXTS = ["3 1 2", "7 7 7 7 7 7 7", "1 2 3 4 5 6 7", "5", "0 6 0 6 0 6 0 6 0 6"]


class Slow:
    """A model that translates by reversing characters, when it is let.

    Attributes:
      gate: it translates while this is set.
      begun: texts whose translation has begun, batch by batch.
    """

    about, rows, takes = "reverses", 2, frozenset({"beam"})

    def __init__(self):
        self.gate, self.begun = threading.Event(), []
        self.gate.set()

    def length(self, text: str) -> int:
        return len(text)

    def bucket(self, text: str) -> int:
        return len(text)

    def example(self, tokens: int) -> str:
        return "a" * tokens

    def translate(self, texts, beam):
        del beam
        self.begun.append(list(texts))
        self.gate.wait(20)
        if "fail" in texts:
            raise RuntimeError("as it was told: /secret/path")
        return [text[::-1] for text in texts]


def asked(served: Any, ask: Any, *, wait_ms: float = 1.0, **limits: Any) -> Any:
    """What `ask(client)` returns, of a server of a model in this process."""

    async def main() -> Any:
        config = ServeConfig(limits=LimitFlags(**limits), batches=BatchFlags(batch_wait_ms=wait_ms))
        application, batcher = made(served, config, name="test")
        async with TestClient(
            TestServer(application.application(), handler_cancellation=True)
        ) as client:
            found = await ask(client)
        await asyncio.to_thread(batcher.close, 20)
        return found

    return asyncio.run(main())
