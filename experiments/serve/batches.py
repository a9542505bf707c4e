"""Batches of what waits: one thread owns the model, and answers for texts of one kind together."""

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

# (what is asked of all, texts or pairs) -> an answer to each
Answer = Callable[[Any, list[Any]], Sequence[Any]]
_NO_ONE = "the server is ending, and takes nothing new; ask again when it is back."


class Full(Exception):
    """As many texts wait as may."""


class Closed(Exception):
    """The server is ending."""


class _Item(NamedTuple):
    """One text that waits; items of one kind share a batch."""

    kind: Hashable
    value: Any
    since: float
    future: "Future[Any]"


class Batcher:
    """Texts that wait, and the thread that answers.

    The text that has waited longest decides of what kind the next batch is; it waits for others of
    its kind until there are `rows` of them or `wait_seconds` are over. A text whose future is
    canceled before its batch begins is dropped.

    Args:
      answer: `(kind, values) -> answers`; only the thread calls it.
      rows: largest number of values in a batch.
      wait_seconds: how long a value waits for others.
      most_waiting: values that may wait or be in work.
    """

    def __init__(self, answer: Answer, *, rows: int, wait_seconds: float, most_waiting: int):
        self._answer, self._rows = answer, rows
        self._wait_seconds, self._most_waiting = wait_seconds, most_waiting
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._closed, self._working = False, 0
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Values that wait or are in work."""
        with self._changed:
            return len(self._items) + self._working

    def submit(self, kinds: Sequence[Hashable], values: Sequence[Any]) -> "list[Future[Any]]":
        """Futures of the answers to values, each of its kind.

        Raises:
          Full: there are too many; none of them is taken.
          Closed: `close` was called.
        """
        with self._changed:
            if self._closed:
                raise Closed(_NO_ONE)
            if len(self._items) + self._working + len(values) > self._most_waiting:
                raise Full(
                    f"the server has as many texts in work as it takes, {self._most_waiting}; ask "
                    "again in a moment."
                )
            now = time.monotonic()
            new = [_Item(k, v, now, Future()) for k, v in zip(kinds, values, strict=True)]
            self._items.extend(new)
            self._changed.notify()
        for item in new:
            item.future.add_done_callback(self._drop_canceled)
        return [item.future for item in new]

    @property
    def is_closed(self) -> bool:
        """True once nothing new is taken."""
        return self._closed

    def close(self, seconds: float) -> bool:
        """Takes nothing new, and waits for all that is taken; True once it is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _drop_canceled(self, future: "Future[Any]") -> None:
        if future.cancelled():
            with self._changed:
                self._items = deque(item for item in self._items if item.future is not future)
                self._changed.notify()

    def _work(self) -> None:
        while batch := self._next():
            kept = [item for item in batch if item.future.set_running_or_notify_cancel()]
            self._leave(len(batch) - len(kept))
            self._answer_all(kept)

    def _leave(self, count: int) -> None:
        """So many are not in work any more; who has an answer can send as much again."""
        with self._changed:
            self._working -= count

    def _next(self) -> list[_Item]:
        """The next batch, once it is full or has waited; empty where all is done."""
        with self._changed:
            while True:
                if not self._items:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                first = self._items[0]
                own = [item for item in self._items if item.kind == first.kind][: self._rows]
                left = first.since + self._wait_seconds - time.monotonic()
                if len(own) == self._rows or left <= 0 or self._closed:
                    break
                self._changed.wait(left)
            taken = {id(item) for item in own}
            self._items = deque(item for item in self._items if id(item) not in taken)
            self._working = len(own)
            return own

    def _answer_all(self, batch: list[_Item]) -> None:
        """Answers a batch; where that fails, each by itself, so that none suffers from another."""
        if not batch:
            return
        try:
            answers = self._answer(batch[0].kind, [item.value for item in batch])
            answered = list(zip(batch, answers, strict=True))
        except Exception as error:
            if len(batch) > 1:
                for item in batch:
                    self._answer_all([item])
                return
            traceback.print_exception(error, file=sys.stderr)
            self._leave(1)
            batch[0].future.set_exception(error)
        else:
            self._leave(len(batch))
            for item, answer in answered:
                item.future.set_result(answer)
