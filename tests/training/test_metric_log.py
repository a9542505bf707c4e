"""Logs: a file that is cut back to a checkpoint, lines without a terminal."""

import hashlib
import json
import re
import sys
import time

import pytest

from attention_jax.training.metric_log import Bar, MetricsFile


def row(step, **numbers):
    return {"step": step, "split": "train", **numbers}


def test_rows_are_lines_of_json_and_null_is_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, size=0)
    file.write(row(1, loss=0.5))
    file.write(row(2, loss=float("nan"), rate=float("inf")))
    file.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [row(1, loss=0.5), row(2, loss=None, rate=None)]


def test_a_file_is_cut_back_to_the_size_of_a_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, size=0)
    file.write(row(1))
    size = file.size()
    file.write(row(2))
    file.close()
    assert size == len(json.dumps(row(1))) + 1 and path.stat().st_size > size
    again = MetricsFile(path, size=size)
    again.write(row(3))
    assert again.size() == path.stat().st_size
    again.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]


def test_a_shorter_file_is_not_filled_up(tmp_path):
    path = tmp_path / "metrics.jsonl"
    line = json.dumps(row(1)) + "\n"
    path.write_text(line)
    MetricsFile(path, size=1000).close()
    assert path.read_text() == line


def test_a_cut_line_is_dropped_and_named(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    whole = f"{json.dumps(row(1))}\n{json.dumps(row(2))}\n"
    path.write_text(whole + '{"st')
    file = MetricsFile(path, size=len(whole) + 12)
    file.write({"step": 4, "split": "train"})
    file.close()
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [1, 2, 4]
    assert f"{path} has lost rows" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "steps", "message"),
    [
        (b"", b"", [1, 2, 3], ""),
        (b"0.25", b"0.35", [1, 2, 3], "was changed since it was written; its rows stay"),
        (b'"step": 2', b'"step"; 2', [1, 3], "has lost rows"),
        (b'"split": "train"', b'"splif": "train"', [3], "has lost rows"),
    ],
)
def test_changed_rows_are_named_and_what_is_no_row_is_left_out(
    tmp_path, caplog, old, new, steps, message
):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, size=0)
    for step in (1, 2):
        file.write({"step": step, "split": "train", "loss": 0.25})
    size, digest = file.written()
    file.close()
    path.write_bytes(path.read_bytes().replace(old, new) if old else path.read_bytes())
    again = MetricsFile(path, size=size, sha256=digest)
    again.write({"step": 3, "split": "train", "loss": 0.25})
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert again.written() == (len(content), digest)
    again.close()
    assert [json.loads(line)["step"] for line in content.splitlines()] == steps
    assert message in caplog.text and bool(message) == bool(caplog.text)


def test_without_a_terminal_rows_are_lines(capsys, monkeypatch):
    now = iter([100.0, 110.0])  # ten seconds for the steps from 25 to 30
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    bar = Bar(steps=90, done=25)
    bar.show(row(30, loss=0.123456, accuracy=0.5, tokens_per_second=12_345.6, gradient_norm=9.0))
    bar.show({"step": 30, "split": "validation", "loss": 2.0, "bleu": 10.0})
    bar.say("resumed")
    bar.close()
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        "step 30/90 train: accuracy 0.5, loss 0.1235, tokens/s 12,346, left 02:00",
        "step 30/90 validation: bleu 10, loss 2",
        "resumed",
    ]


def test_the_bar_says_what_takes_the_time(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = Bar(steps=90, done=0)
    with pytest.raises(KeyError), bar.doing("compiling"):
        raise KeyError
    with bar.doing("validating"):
        pass
    bar.close()
    err = capsys.readouterr().err
    said = [word for word in re.findall(r"[a-z]+(?=: +0%)", err)]
    assert said == ["training", "compiling", "validating", "training"]
