"""What every task promises."""

import itertools
import sys

import pytest

from attention_jax.data import tasks
from attention_jax.data.tokenizer import KINDS, Tokenizer
from attention_jax.data.types import Example, Task

SMALL = {"train_size": 300, "validation_size": 40, "test_size": 60}
FROM_FILES = ("parallel", "scan")
GENERATED = tuple(name for name in tasks.names() if name not in FROM_FILES)


@pytest.fixture
def options(request, tmp_path):
    """Options that make a small instance of a task."""
    if request.param not in FROM_FILES:
        return request.param, SMALL
    if request.param == "scan":
        (tmp_path / "scan").mkdir()
        for part, numbers in (("train", range(400)), ("test", range(400, 460))):
            lines = "".join(f"IN: walk {i} OUT: {'I_WALK ' * (i % 9 + 1)}\n" for i in numbers)
            (tmp_path / "scan" / f"tasks_{part}_simple.txt").write_text(lines)
        return "scan", {"data_dir": str(tmp_path)}
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"the number {i}\tel número {i}\n" for i in range(400)))
    return "parallel", {"tsv": str(path), "held_out_percent": 10}


every_task = pytest.mark.parametrize("options", tasks.names(), indirect=True)
generated = pytest.mark.parametrize("name", GENERATED)


def splits(task):
    return [task.train, task.validation, *task.tests.values()]


def test_the_folder_is_the_registry():
    assert tasks.names() == tuple(sorted(tasks.names()))
    assert set(tasks.names()) >= {"copy", "reverse", "sort", "spanish", "parallel"}
    assert not any(name.startswith("_") or name == "lists" for name in tasks.names())


def test_a_new_file_is_a_new_task(tmp_path, monkeypatch):
    (tmp_path / "countdown.py").write_text(
        """from attention_jax.data.types import Example, Task


def countdown(*, start: int = 3) -> Task:
    numbers = " ".join(str(n) for n in range(start, 0, -1))
    one = [Example(str(start), (numbers,))]
    return Task("countdown", one, one, {"test": one}, "word")


def _part(start: int) -> Task:
    return countdown(start=start)


def helper(start: int) -> int:
    return start
"""
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{tasks.__name__}.countdown", raising=False)
    assert {"countdown", "copy"} <= set(tasks.names()) and "helper" not in tasks.names()
    assert tasks.get("countdown", start="4").train[0].references == ("4 3 2 1",)
    with pytest.raises(ValueError, match="'countdown' must be among start; got begin"):
        tasks.get("countdown", begin=3)


@every_task
def test_a_task_is_text(options):
    name, options = options
    task = tasks.get(name, **options)
    assert isinstance(task, Task)
    assert task.name == name
    assert task.tokenizer in KINDS
    for example in itertools.chain(*splits(task)):
        assert isinstance(example, Example)
        assert all(text and text == text.strip() for text in (example.source, *example.references))
        assert len(set(example.references)) == len(example.references) >= 1


@every_task
def test_no_split_shares_a_source_with_another(options):
    name, options = options
    sources = [
        {example.source for example in split} for split in splits(tasks.get(name, **options))
    ]
    assert all(sources)
    assert sum(map(len, sources)) == len(set().union(*sources))


@every_task
def test_a_task_is_the_same_every_time(options):
    name, options = options
    assert tasks.get(name, **options) == tasks.get(name, **options)
    assert tasks.get(name, **options, seed=1) != tasks.get(name, **options, seed=0)


@generated
def test_sizes_are_those_asked_for(name):
    task = tasks.get(name, **SMALL)
    assert [len(split) for split in splits(task)] == [300, 40, 60, 60]
    assert list(task.tests) == ["test", "longer"]


@pytest.mark.sampled(3)
@generated
def test_a_vocabulary_gives_every_text_back(name):
    task = tasks.get(name, **{**SMALL, "train_size": 3000})
    texts = [text for example in task.train for text in (example.source, *example.references)]
    vocabulary = Tokenizer.learn(texts, kind=task.tokenizer)
    for example in itertools.chain(*splits(task)):
        for text in (example.source, *example.references):
            assert vocabulary.unknown(text) == []
            assert vocabulary.decode(vocabulary.encode(text)) == text


@generated
def test_longer_is_longer(name):
    task = tasks.get(name, **SMALL)
    vocabulary = Tokenizer.learn([e.source for e in task.train], kind=task.tokenizer)

    def length(example):
        words = example.source.split()
        return len(words) if task.tokenizer == "word" else len(vocabulary.encode(example.source))

    longest = max(length(example) for example in [*task.train, *task.tests["test"]])
    longer = [length(example) for example in task.tests["longer"]]
    assert min(longer) > longest


def test_unknown_tasks_and_options_are_named():
    with pytest.raises(ValueError, match=r"must be one of addition, .*; got 'revers'"):
        tasks.get("revers")
    with pytest.raises(ValueError, match=r"'reverse' must be among vocabulary, .*; got size"):
        tasks.get("reverse", size=3)


def test_options_may_come_as_text(tmp_path):
    assert tasks.get("copy", **{k: str(v) for k, v in SMALL.items()}) == tasks.get("copy", **SMALL)
    with pytest.raises(ValueError, match="`seed` must be a whole number; got '1.5'"):
        tasks.get("copy", seed="1.5")
    with pytest.raises(ValueError, match="`skip_empty` must be true or false; got 'perhaps'"):
        tasks.get("parallel", skip_empty="perhaps")
    path = tmp_path / "pairs.tsv"
    path.write_text("\t\n" + "".join(f"a {i}\tb {i}\n" for i in range(300)))
    assert tasks.get("parallel", tsv=path, skip_empty="True").train
    with pytest.raises(ValueError, match="empty one on line 1"):
        tasks.get("parallel", tsv=path, skip_empty="false")


TINY = {"train_size": 2, "validation_size": 1, "test_size": 1}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("addition", {"digits": 1, "longer_digits": 2}),
        ("copy", {"vocabulary": 4, "max_length": 1, "longer_length": 2}),
        ("dates", {"max_length": 10}),
        ("dates", {"max_length": 35}),
        ("numbers", {"digits": 1, "longer_digits": 2}),
        ("numbers", {"digits": 8, "longer_digits": 9}),
        ("spanish", {"max_words": 4, "longer_words": 5}),
        ("spanish", {"max_words": 20, "longer_words": 24}),
    ],
)
def test_options_at_their_bounds_are_taken(name, options):
    task = tasks.get(name, **options, **TINY)
    assert [len(split) for split in splits(task)] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("addition", {"digits": 0}, "digits=0"),
        ("addition", {"digits": 4, "longer_digits": 4}, "digits=4, longer_digits=4"),
        ("dates", {"max_length": 9}, "got 9"),
        ("dates", {"max_length": 36}, "got 36"),
        ("numbers", {"digits": 0}, "digits=0"),
        ("numbers", {"digits": 5, "longer_digits": 5}, "digits=5, longer_digits=5"),
        ("numbers", {"longer_digits": 10}, "longer_digits=10"),
        ("spanish", {"max_words": 3}, "max_words=3"),
        ("spanish", {"max_words": 21, "longer_words": 24}, "max_words=21"),
        ("spanish", {"max_words": 12, "longer_words": 12}, "longer_words=12"),
        ("spanish", {"longer_words": 25}, "longer_words=25"),
        ("parallel", {"held_out_percent": 0}, "got 0"),
        ("parallel", {"held_out_percent": 46}, "got 46"),
        ("scan", {"validation_percent": 0}, "got 0"),
        ("scan", {"validation_percent": 51}, "got 51"),
    ],
)
def test_options_beyond_their_bounds_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        tasks.get(name, **options)
