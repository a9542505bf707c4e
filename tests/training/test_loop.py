"""Training: the right update, and the same end whatever interrupts it.

Run as a script it trains the toy model in a folder, to be killed and resumed by a test:

    python tests/test_training.py FOLDER [--resume]
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attention_jax.core import extras
from attention_jax.data.batching import BucketedBatches, pad
from attention_jax.nn.protocols import EncoderOutput
from attention_jax.training import config, loop, preemption
from attention_jax.training.checkpoints import Checkpoints
from attention_jax.training.result import Owner
from attention_jax.training.step import Totals, compile_steps, zeros
from attention_jax.training.step import start as step_start
from attention_jax.training.time_shares import PARTS, REST
from tests.support.paths import ROOT

VOCABULARY = 11
SETTINGS = config.TrainConfig(
    steps=30,
    learning_rate=0.05,
    warmup_steps=5,
    label_smoothing=0.1,
    log_every=4,
    evaluate_every=6,
    checkpoint_every=9,
    keep_last=2,
    monitor="score",
)


class Toy(nnx.Module):
    """A sequence-to-sequence model that sees one source and one target token at a time."""

    def __init__(self, *, width: int = 6, rngs: nnx.Rngs):
        self.embed = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.out = nnx.Linear(width, VOCABULARY, rngs=rngs)
        self.drop = nnx.Dropout(0.2)

    def encode(self, source, source_mask, *, rngs=None):
        states = jnp.where(source_mask[..., None], self.embed(source), 0.0)
        return EncoderOutput(states, jnp.asarray(source_mask))

    def decode(self, target, memory, *, rngs=None):
        x = self.embed(target) + memory.states
        return self.out(self.drop(x, deterministic=rngs is None, rngs=rngs))


class Bias(nnx.Module):
    """A model whose logits are one vector, so that its gradient is known in closed form."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.bias = nnx.Param(jnp.linspace(-1.0, 1.0, VOCABULARY))

    def encode(self, source, source_mask, *, rngs=None):
        return EncoderOutput(jnp.zeros((*source.shape, 1)), jnp.asarray(source_mask))

    def decode(self, target, memory, *, rngs=None):
        return jnp.broadcast_to(self.bias[...], (*target.shape, VOCABULARY))


def toy(key):
    return Toy(rngs=nnx.Rngs(key))


def random_pairs(count=60):
    generator = np.random.default_rng(0)
    sources = [generator.integers(4, VOCABULARY, size=5).tolist() for _ in range(count)]
    return [(source, source[: 1 + index % 5]) for index, source in enumerate(sources)]


def toy_batches(seed=0):
    return BucketedBatches(random_pairs(), tokens_per_batch=48, max_length=8, seed=seed)


def score(params):
    """A cheap stand-in for BLEU that changes with the parameters."""
    total = sum(float(np.sum(np.sin(100 * np.asarray(x)))) for x in jax.tree.leaves(params))
    return {"loss": abs(total), "score": total}


def fit(folder, *, evaluate=score, resume=False, build=toy, **changes):
    settings = SETTINGS._replace(**changes)
    return loop.fit(build, toy_batches(), evaluate, folder, settings, resume=resume)


def rows(folder):
    """metrics.jsonl without what the clock decides."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    clock = ("seconds", "tokens_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]


def saved(folder):
    """The last checkpoint: every array, and the plain data but the clock's."""
    like = jax.eval_shape(lambda: loop.stepper(toy, SETTINGS)[0])
    found = Checkpoints(Path(folder) / "checkpoints").restore_latest(loop._tree(like))
    clock = {"seconds": 0, "metrics_size": 0, "metrics_sha256": ""}
    progress = {**found.extra["progress"], **clock}
    return found.tree, {**found.extra, "progress": progress}, found.step


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_same_end(folder, undisturbed):
    (tree, extra, step), (want, want_extra, want_step) = saved(folder), saved(undisturbed.folder)
    assert_same(tree, want)
    assert (extra, step) == (want_extra, want_step)
    assert rows(folder) == rows(undisturbed.folder)


def test_without_a_folder_it_trains_the_same_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    without = fit(None, steps=4)
    assert not list(tmp_path.iterdir())
    assert_same(without.params, fit(tmp_path / "run", steps=4).params)
    with pytest.raises(ValueError, match="`folder` must be given to resume"):
        fit(None, resume=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_an_update_refuses_is_refused_before_the_folder_is_made(tmp_path, accumulate):
    class Wrong(Toy):
        def decode(self, target, memory, *, rngs=None):
            raise ValueError("no such call")

    accepted = []
    with pytest.raises(ValueError, match="no such call"):
        loop.fit(
            lambda key: Wrong(rngs=nnx.Rngs(key)),
            toy_batches(),
            score,
            tmp_path / "run",
            SETTINGS._replace(accumulate=accumulate),
            owner=Owner(lambda: accepted.append(1)),
        )
    assert not accepted and not list(tmp_path.iterdir())


class Undisturbed:
    def __init__(self, folder):
        self.folder = folder
        self.result = fit(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return Undisturbed(tmp_path_factory.mktemp("undisturbed") / "run")


# The update


def one_update(build, batches, *, rate=1.0, **options):
    """Parameters before and after one step of gradient descent, and its own sums."""
    transform = optax.sgd(rate)
    graphdef, state = step_start(build, transform, 0)
    before = jax.tree.map(np.array, state.params)
    steps = compile_steps(graphdef, transform, accumulate=len(batches), **options)
    if len(batches) == 1:
        return before, *steps.whole(state, batches[0])
    gradient, totals = zeros(state.params), Totals.zero()
    for index, batch in enumerate(batches):
        gradient, totals = steps.gather(state, batch, index, gradient, totals)
    return before, *steps.update(state, gradient, totals)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_probability_minus_target(smoothing):
    batch = pad([([5], [6, 7]), ([5, 5], [6])], rows=3, length=4)
    before, state, totals = one_update(
        lambda key: Bias(rngs=nnx.Rngs(key)), [batch], label_smoothing=smoothing
    )
    bias = np.asarray(jax.tree.leaves(before)[0], np.float64)
    probability = np.exp(bias) / np.exp(bias).sum()
    wanted = np.bincount([6, 7, 2, 6, 2], minlength=VOCABULARY) / 5  # 2 is EOS
    wanted = (1 - smoothing) * wanted + smoothing / VOCABULARY
    after = jax.tree.leaves(state.params)[0]
    np.testing.assert_allclose(bias - after, probability - wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(totals.loss / 5, -wanted @ np.log(probability), rtol=1e-5)
    norm = np.linalg.norm(probability - wanted)
    np.testing.assert_allclose(totals.gradient_norm, norm, rtol=1e-5)
    assert (float(totals.tokens), float(totals.correct), int(state.step)) == (5, 0, 1)


@pytest.mark.slow
def test_accumulated_batches_are_one_large_batch():
    pairs = [([5, 6], [7]), ([8], [9, 4, 5]), ([4, 4], [10, 10])]

    def build(key):
        model = toy(key)
        model.drop.rate = 0.0
        return model

    small = [pad(pairs[:1], rows=1, length=4), pad(pairs[1:], rows=4, length=6)]
    _, apart, totals_apart = one_update(build, small)
    _, together, totals_together = one_update(build, [pad(pairs, rows=3, length=6)])
    for x, y in zip(
        jax.tree.leaves((apart.params, totals_apart)),
        jax.tree.leaves((together.params, totals_together)),
        strict=True,
    ):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_dropout_is_drawn_anew_each_step_and_from_the_seed():
    batch, still = toy_batches()[0], SETTINGS._replace(learning_rate=0.0)
    _, update = loop.stepper(toy, still)

    def losses(seed):
        _, state = step_start(toy, still.transform(), seed)
        found = []
        for _ in range(3):
            state, totals = update(state, batch)
            found.append(float(totals.loss))
        return found

    assert losses(0) == losses(0)
    assert len(set(losses(0))) == 3


@pytest.mark.slow
def test_a_shape_is_compiled_once():
    batches = toy_batches()
    state, _ = loop.stepper(toy, SETTINGS)
    transform = SETTINGS.transform()
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: toy(jax.random.key(0))))
    steps = compile_steps(graphdef, transform)
    for index in range(3):
        state, _ = steps.whole(state, batches[index])
        state = state._replace(totals=Totals.zero())
    assert steps.whole._cache_size() == 1


# A whole run


def test_a_run_learns_and_reports(undisturbed):
    result, written = undisturbed.result, rows(undisturbed.folder)
    train = [row for row in written if row["split"] == "train"]
    validation = [row for row in written if row["split"] == "validation"]
    assert [row["step"] for row in train] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert [row["step"] for row in validation] == [6, 12, 18, 24, 30]
    assert train[-1]["loss"] < 0.8 * train[0]["loss"]
    assert result.steps == 30 and result.tokens == train[-1]["tokens"]
    best = max(validation, key=lambda row: row["score"])
    assert (result.metric, result.best_step) == (best["score"], best["step"])
    assert score(result.params)["score"] == best["score"]
    assert not result.stopped_early and result.first_step_seconds > 0
    rate = SETTINGS.rate()
    assert [row["learning_rate"] for row in train] == [float(rate(r["step"] - 1)) for r in train]


def test_all_of_the_time_is_told(undisturbed):
    shares = undisturbed.result.time_shares
    assert set(shares) == {*PARTS, REST} and sum(shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for name, share in shares.items() if name != "input")
    assert shares["compilation"] > shares["updates"]


@pytest.mark.slow
def test_a_profiled_run_prints_and_keeps_its_table(tmp_path, capfd):
    fit(tmp_path / "run", steps=16, profile_steps=3, evaluate=None)
    table = (tmp_path / "run" / "profile" / "shares.txt").read_text()
    assert table.startswith("3 updates in") and "optimizer" in table and "loss" in table
    assert table in capfd.readouterr().err


def test_tokens_are_real_ones(undisturbed):
    batches = toy_batches()
    assert undisturbed.result.tokens == sum(int(batches[i].weights.sum()) for i in range(30))


@pytest.mark.slow
def test_the_average_of_the_last_checkpoints_is_numpys(tmp_path):
    result = fit(tmp_path / "run", average=True, evaluate=None)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    assert checkpoints.steps() == [27, 30]
    like = {"params": result.params}
    parts = [checkpoints.restore(step, like).tree["params"] for step in (27, 30)]
    for got, *leaves in zip(*map(jax.tree.leaves, (result.params, *parts)), strict=True):
        want = np.mean([np.asarray(x, np.float64) for x in leaves], axis=0)
        np.testing.assert_array_equal(got, want.astype(np.float32))


@pytest.mark.slow
def test_patience_stops_a_run_that_gets_no_better(tmp_path):
    scores = iter([1.0, 3.0, 2.0, 2.5, 4.0])
    result = fit(tmp_path / "run", evaluate=lambda _: {"score": next(scores)}, patience=2)
    assert result.stopped_early and result.steps == 24
    assert (result.metric, result.best_step) == (3.0, 12)


@pytest.mark.slow
def test_time_ends_a_run_with_a_last_row_an_evaluation_and_a_checkpoint(tmp_path):
    result = fit(tmp_path, steps=1_000_000, max_seconds=1.0, log_every=1000, evaluate_every=100_000)
    assert 0 < result.steps < 1_000_000 and 1.0 <= result.seconds < 30.0
    assert not result.stopped_early
    train, validation = rows(tmp_path)[-2:]
    assert (train["split"], train["step"]) == ("train", result.steps)
    assert (validation["split"], validation["step"]) == ("validation", result.steps)
    assert saved(tmp_path)[2] == result.steps
    again = fit(tmp_path, steps=1_000_000, max_seconds=1.0, evaluate_every=100_000, resume=True)
    assert again.steps == result.steps
    assert_same(again.params, result.params)


def test_lines_are_written_where_there_is_no_terminal(tmp_path, capfd):
    fit(tmp_path / "run", steps=8, evaluate_every=8)
    shown = capfd.readouterr().err
    assert "step 4/8 train: accuracy" in shown and "tokens/s" in shown
    assert "step 8/8 validation: loss" in shown


# Interruptions


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_resuming_changes_nothing(tmp_path, undisturbed, number):
    def send_once(params):
        if not sent:
            sent.append(os.kill(os.getpid(), number))
        return score(params)

    sent, handlers = [], [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(preemption.Preempted, match="after step 7; .*--resume") as stop:
        fit(tmp_path / "run", evaluate=send_once)
    assert stop.value.exit_code == 128 + number
    assert handlers == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    assert saved(tmp_path / "run")[2] == 7  # out of turn
    fit(tmp_path / "run", evaluate=send_once, resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_a_request_to_save_changes_nothing_else(tmp_path, undisturbed, capfd):
    def ask(params):
        if not steps:
            os.kill(os.getpid(), signal.SIGUSR1)
        steps.append(Checkpoints(tmp_path / "run" / "checkpoints").steps())
        return score(params)

    steps = []
    fit(tmp_path / "run", evaluate=ask)
    assert "saved step 7, as SIGUSR1 asks" in capfd.readouterr().err
    assert 7 in steps[1] and 7 not in steps[0]
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_a_lost_best_checkpoint_gives_the_last_parameters(tmp_path, capfd):
    def lose(params):
        calls.append(1)
        if len(calls) == 4:
            shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_000000006")
        return {"loss": float(len(calls))}  # the first is the best

    calls = []
    result = fit(tmp_path / "run", evaluate=lose, monitor="loss", evaluate_every=6)
    assert "step 6, the best by loss, is gone" in capfd.readouterr().err
    assert (result.best_step, result.metric, result.steps) == (None, None, 30)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("crash_at", [6, 24])
def test_a_crash_is_resumed_from_the_last_checkpoint(tmp_path, undisturbed, crash_at):
    def crash_once(params):
        calls.append(1)
        if len(calls) == crash_at // 6:
            raise RuntimeError("a crash")
        return score(params)

    calls = []
    with pytest.raises(RuntimeError, match="a crash"):
        fit(tmp_path / "run", evaluate=crash_once)
    fit(tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_an_accumulating_average_resumes_exactly(tmp_path):
    def crash(params):
        raise RuntimeError("a crash")

    options = {"accumulate": 2, "average": True, "evaluate_every": 20, "optimizer": "adamw"}
    want = fit(tmp_path / "whole", **options)
    with pytest.raises(RuntimeError, match="a crash"):
        fit(tmp_path / "run", evaluate=crash, **options)
    got = fit(tmp_path / "run", resume=True, **options)
    assert_same(got.params, want.params)
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_damaged_newest_checkpoint_is_run_again(tmp_path, undisturbed, caplog):
    fit(tmp_path / "run")
    files = list((tmp_path / "run" / "checkpoints" / "step_000000030" / "params").rglob("d/*"))
    assert files
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    fit(tmp_path / "run", resume=True)
    assert "step_000000030 is damaged" in caplog.text
    assert_same_end(tmp_path / "run", undisturbed)


def test_resuming_a_finished_run_only_returns_its_result(undisturbed):
    before = rows(undisturbed.folder)
    result = fit(undisturbed.folder, resume=True)
    assert_same(result.params, undisturbed.result.params)
    assert (result.metric, result.steps) == (undisturbed.result.metric, 30)
    assert rows(undisturbed.folder) == before


@pytest.mark.slow
def test_divergence_stops_before_the_good_checkpoint_is_lost(tmp_path):
    with pytest.raises(loop.TrainingDiverged, match="checkpoint is that of step.*warmup_steps"):
        fit(tmp_path / "run", learning_rate=3e38, checkpoint_every=1)
    tree, _, step = saved(tmp_path / "run")
    assert step >= 1 and all(np.isfinite(x).all() for x in jax.tree.leaves(tree["params"]))


def start(folder, *options):
    command = [sys.executable, __file__, str(folder), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(process, folder, step):
    """Waits until a running process has saved a step; fails if it ends before."""
    deadline = time.monotonic() + 120
    while not (Path(folder) / "checkpoints" / f"step_{step:09d}").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    assert process.poll() is None


@pytest.mark.slow
def test_kill_9_at_any_moment_changes_nothing(tmp_path, undisturbed):
    for step in (9, 18, 27):
        process = start(tmp_path / "run", "--resume", "--slow")
        wait_for_checkpoint(process, tmp_path / "run", step)
        process.kill()
        process.communicate()
    process = start(tmp_path / "run", "--resume")
    assert "resumed" in process.communicate()[1]
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_sigterm_ends_a_process_with_its_checkpoint_saved(tmp_path, undisturbed):
    process = start(tmp_path / "run", "--slow")
    wait_for_checkpoint(process, tmp_path / "run", 9)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 143 and "--resume" in said
    process = start(tmp_path / "run", "--resume")
    process.communicate()
    assert process.returncode == 0
    assert_same_end(tmp_path / "run", undisturbed)


# Refusals


def test_a_folder_with_a_run_is_not_overwritten(undisturbed):
    with pytest.raises(FileExistsError, match="--resume, or start it anew by --overwrite"):
        fit(undisturbed.folder)


@pytest.mark.slow
def test_another_model_or_other_data_is_not_resumed(undisturbed):
    def wide(key):
        return Toy(width=7, rngs=nnx.Rngs(key))

    with pytest.raises(ValueError, match=r"has float32\[11, 6\], the model float32\[11, 7\]"):
        fit(undisturbed.folder, build=wide, resume=True)
    other = BucketedBatches(random_pairs(20), tokens_per_batch=48, max_length=8)
    with pytest.raises(ValueError, match="`batches` must be those"):
        loop.fit(toy, other, score, undisturbed.folder, SETTINGS, resume=True)


def test_an_unknown_metric_is_named(tmp_path):
    with pytest.raises(ValueError, match="one of the metrics loss, score; got 'bleu'"):
        fit(tmp_path / "run", monitor="bleu")


def test_tensorboard_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    said = re.escape(extras.message("tensorboardX", "tensorboard"))
    with pytest.raises(ModuleNotFoundError, match=said):
        fit(tmp_path / "run", tensorboard=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"accumulate": 0}, "`accumulate` must be at least 1; got 0"),
        ({"steps": -1}, "`steps` must not be negative; got -1"),
        ({"patience": 0}, "`patience` must be at least 1 or None; got 0"),
        ({"max_seconds": 0.0}, "`max_seconds` must be above 0 or None; got 0.0"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\); got 1.0"),
        ({"optimizer": "sgd"}, "`optimizer` must be one of"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path / "run", **wrong)


def main(folder, *options):
    def slow_score(params):
        time.sleep(0.5 if "--slow" in options else 0)
        return score(params)

    try:
        fit(folder, evaluate=slow_score, resume="--resume" in options)
    except preemption.Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
