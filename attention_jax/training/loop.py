"""Training loop: steps, evaluation, early stopping, checkpoints, preemption, resumption.

    result = fit(build, batches, evaluate, "run", TrainConfig(steps=10_000))

A run that is killed at any moment goes on by `resume=True`, and ends bit for bit as undisturbed.
"""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

from attention_jax.core import checks
from attention_jax.core.messages import said
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.batching import Batches
from attention_jax.parallel import processes
from attention_jax.training import objectives
from attention_jax.training.checkpoints import Checkpoints
from attention_jax.training.chosen import End, chosen
from attention_jax.training.config import TrainConfig
from attention_jax.training.early_stopping import TrainProgress, goodness
from attention_jax.training.feed import Feed
from attention_jax.training.metric_log import Bar, MetricsFile, NoMetrics
from attention_jax.training.objectives import Objective
from attention_jax.training.preemption import Preempted, PreemptionGuard
from attention_jax.training.prepare import prepare
from attention_jax.training.profiling import Profile
from attention_jax.training.result import Owner, Result, TrainingDiverged
from attention_jax.training.shared_checkpoints import SharedCheckpoints
from attention_jax.training.step import Build, Totals, TrainState, all_finite
from attention_jax.training.time_shares import Clock
from attention_jax.training.updates import Updates
from attention_jax.training.wishes import Wishes

Evaluate = Callable[[Params], dict[str, float]]
Update = Callable[[TrainState, Any], tuple[TrainState, Totals]]  # (state, batch)


_NOBODY = Owner()


@typed_calls
def fit(
    build: Build,
    batches: Batches,
    evaluate: Evaluate | None,
    folder: str | os.PathLike | None,
    config: TrainConfig,
    *,
    objective: Objective = objectives.translation,
    resume: bool = False,
    owner: Owner = _NOBODY,
) -> Result:
    """Trains a model.

    Args:
      build: makes the model from a random key.
      batches: training batches, as the objective reads them.
      evaluate: metrics of given parameters, such as loss and BLEU; None for no evaluation. It
        must not keep the parameters, which the next update overwrites.
      folder: folder of metrics.jsonl and checkpoints/; None for one that is deleted at the end.
      config: the training configuration.
      objective: minimized.
      resume: continues from the folder's newest whole checkpoint; begins anew where it has none.
      owner: of the folder.

    Raises:
      FileExistsError: the folder holds a run, and `resume` is False.
      TrainingDiverged: a number is no longer finite; the last good checkpoint stays.
      Preempted: SIGTERM, SIGINT or SIGHUP arrived; a checkpoint was saved first. SIGUSR1 saves
        one, and training goes on.
      ValueError: the checkpoint is of another model or of other data, or no folder to resume.
    """
    if folder is None:
        _check_alone(resume)
        with tempfile.TemporaryDirectory() as made:
            return fit(build, batches, evaluate, made, config, objective=objective, owner=owner)
    folder = Path(folder)
    config.check()
    checks.called_with("build", build, "(key)")
    checks.called_with("objective", objective, "(model, batch)")
    used = processes.on_first(partial(_used, folder))
    if used and not resume:
        raise FileExistsError(
            f"`folder` must hold no run yet; {folder} has {' and '.join(used)}. Continue it by "
            "--resume, or start it anew by --overwrite."
        )
    kept = Checkpoints(folder / "checkpoints", keep_last=config.keep_last, identity=owner.identity)
    if processes.several():
        kept = SharedCheckpoints(kept)
    loop = _Loop(build, batches, evaluate, folder, config, objective, kept, owner)
    with contextlib.closing(loop), PreemptionGuard() as signals:
        loop.run(signals)
        return loop.result()


def stepper(
    build: Build, config: TrainConfig, objective: Objective = objectives.translation
) -> tuple[TrainState, Update]:
    """Initial training state, and the update that `fit` makes of each batch.

    The update donates the state that it is given. It returns the new state and the batch's sums of
    loss, tokens and correct tokens, with the norm of its gradient.
    """
    ready = prepare(build, config, objective)
    return ready.state, ready.steps.whole


def _check_alone(resume: bool) -> None:
    """Raises ValueError where a run needs a folder that stays, or that several processes see."""
    if resume or processes.several():
        raise ValueError("`folder` must be given to resume, or in several processes; got None.")


def _used(folder: Path) -> list[str]:
    """Names of what a folder holds of a run."""
    return [name for name in ("metrics.jsonl", "checkpoints") if (folder / name).exists()]


class _Loop:
    """A run in progress: its state from step to step, and the files it writes."""

    def __init__(self, build, batches, evaluate, folder, config, objective, kept, owner):
        self.config, self.evaluate, self.folder = config, evaluate, folder
        self.started = self.window_start = time.monotonic()
        self.clock = Clock()
        self.window_tokens, self.first_step_seconds = 0, 0.0
        self.uncounted: list[Any] = []  # target tokens of updates since they were last counted
        self.graphdef, self.state, steps, self.layout = prepare(build, config, objective)
        self.batches, self.rate, self.checkpoints = batches, config.rate(), kept
        self.feed, self.wishes = Feed(batches, self.layout), Wishes(self.layout)
        self.update = Updates(steps, self.feed, accumulate=config.accumulate, clock=self.clock)
        self.progress, self.step, self.saved = TrainProgress(), 0, -1
        self._restore()
        self.update.trace(self.state, self.feed.first())
        processes.on_first(partial(owner.accept, folder))
        self.checkpoints.delete_after(self.step)
        speaks = processes.is_first()
        self.metrics = self._open_metrics() if speaks else NoMetrics()
        self.bar = Bar(steps=config.steps, done=self.step, silent=not speaks)
        if self.step:
            resumed = said("resumed {folder} after step {step}")
            self.bar.say(resumed.format(folder=folder, step=self.step))
        steps = config.profile_steps if speaks else 0
        self.profile = Profile(folder / "profile", steps=steps, say=self.bar.say)

    def _open_metrics(self) -> MetricsFile:
        return MetricsFile(
            self.folder / "metrics.jsonl",
            size=self.progress.metrics_size,
            sha256=self.progress.metrics_sha256,
            tensorboard=self.folder / "tensorboard" if self.config.tensorboard else None,
        )

    def run(self, signals: PreemptionGuard) -> None:
        while True:
            wished = self.wishes(signals, late=self._is_late())
            if wished.stop:
                if self.saved != self.step:
                    self._save(scheduled=False)
                raise Preempted(wished.stop, step=self.step, folder=self.folder)
            if wished.save:
                if self.saved != self.step:
                    self._save(scheduled=False)
                self.bar.say(f"saved step {self.step}, as SIGUSR1 asks")
            last = bool(wished.late) or self.step >= self.config.steps
            if last and self.progress.logged < self.step:
                self._log_training()
            self._evaluate_if_due(last)
            finished = last or self.progress.stopped
            due = self.step > 0 and self.step % self.config.checkpoint_every == 0
            if (finished or due) and self.saved != self.step:
                self._save(scheduled=True)
            if finished:
                return
            self._step()
            if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                self._log_training()

    def result(self) -> Result:
        params, progress = chosen(
            self.checkpoints,
            End(self.state.params, self.step),
            self.progress,
            self.config,
            put=self._put,
            say=self.bar.say,
        )
        return Result(
            graphdef=self.graphdef,
            params=params if self.layout is None else self.layout.for_use(params),
            metric=progress.best,
            best_step=progress.best_step,
            steps=self.step,
            seconds=self._seconds(),
            tokens=progress.tokens,
            stopped_early=progress.stopped,
            first_step_seconds=self.first_step_seconds,
            time_shares=self.clock.shares(),
        )

    def close(self) -> None:
        self.profile.close()
        self.bar.close()
        self.metrics.close()

    def _step(self) -> None:
        if self.first_step_seconds:
            self._update()
        else:
            start = time.monotonic()
            with self.bar.doing("compiling"):
                self._update()
                self.update.wait()
            self.first_step_seconds = time.monotonic() - start
        self.step += 1
        self.profile.tick(self.state, compiled=self.update.compiled)
        with self.clock.of("logging"):
            self.bar.advance()

    def _update(self) -> None:
        self.state, tokens = self.update(self.state)
        self.uncounted.append(tokens)

    def _count(self) -> None:
        """Counts the target tokens of the last updates, which other processes may have read."""
        tokens = sum(map(int, self.uncounted))
        self.uncounted = []
        self.window_tokens += tokens
        self.progress = self.progress._replace(tokens=self.progress.tokens + tokens)

    def _log_training(self) -> None:
        self.update.wait()
        with self.clock.of("logging"):
            self._write_training()

    def _write_training(self) -> None:
        totals = self._fetch_totals()
        self._count()
        updates = self.step - self.progress.logged
        row = {
            "step": self.step,
            "split": "train",
            "loss": float(totals.loss / totals.tokens),
            "accuracy": float(totals.correct / totals.tokens),
            "gradient_norm": float(totals.gradient_norm / updates),
            "learning_rate": float(self.rate(self.step - 1)),
            "tokens": self.progress.tokens,
            "tokens_per_second": self.window_tokens / (time.monotonic() - self.window_start),
            "seconds": self._seconds(),
        }
        self._write(row)
        self.progress = self.progress._replace(logged=self.step)
        self.state = self.state._replace(totals=self._put(Totals.zero()))
        self.window_tokens, self.window_start = 0, time.monotonic()

    def _is_late(self) -> bool:
        """True if the time is up."""
        limit = self.config.max_seconds
        return limit is not None and self.step > 0 and self._seconds() >= limit

    def _evaluate_if_due(self, last: bool) -> None:
        config, step = self.config, self.step
        due = step % config.evaluate_every == 0 or last
        # Without steps the first weights are the result, and are evaluated.
        is_all = config.steps == 0 and self.progress.best is None
        if self.evaluate is None or not due or not (is_all or step > self.progress.evaluated):
            return
        with self._paused("validating", part="evaluation"):
            self._check_finite()
            scores = {name: float(x) for name, x in self.evaluate(self._whole_params()).items()}
            self.progress = self.progress.update(
                scores, step=step, metric=config.monitor, patience=config.patience
            )
            self._write({"step": step, "split": "validation", **scores, "seconds": self._seconds()})
        better = self.progress.best_step == step
        if better and step % config.checkpoint_every and not last:
            self._save(scheduled=False)

    def _save(self, *, scheduled: bool) -> None:
        with self._paused("saving", part="checkpoints"):
            self._check_finite()
            self._count()
            size, digest = self.metrics.written()
            progress = self.progress._replace(
                seconds=self._seconds(), metrics_size=size, metrics_sha256=digest
            )
            best = progress.best if progress.best_step == self.step else None
            self.checkpoints.save(
                self.step,
                _tree(self.state),
                extra={
                    "progress": progress._asdict(),
                    "scheduled": scheduled,
                    "iterator": self.feed.get_state(),
                    "batches_per_epoch": self.batches.batches_per_epoch,
                },
                metric=None if best is None else goodness(self.config.monitor, best),
                scheduled=scheduled,
            )
            self.saved = self.step if scheduled else self.saved

    def _restore(self) -> None:
        restored = self.checkpoints.restore_latest(_tree(self.state))
        if restored is None:
            return
        step, tree, extra = restored
        if extra["batches_per_epoch"] != self.batches.batches_per_epoch:
            raise ValueError(
                "`batches` must be those that the run began with: an epoch had "
                f"{extra['batches_per_epoch']}, and has {self.batches.batches_per_epoch}. Resume "
                "with the same data, seed, lengths and tokens per batch."
            )
        state = TrainState(**tree["counters"], params=tree["params"], opt=tree["opt"])
        self.state, self.step = state, step
        self.progress = TrainProgress(**extra["progress"])
        self.saved = step if extra["scheduled"] else -1
        self.feed.set_state(extra["iterator"])

    def _put(self, tree: Any) -> Any:
        """A tree of the host, where the state lies."""
        return tree if self.layout is None else self.layout.put(tree)

    def _whole_params(self) -> Params:
        """The parameters as evaluation reads them."""
        params = self.state.params
        return params if self.layout is None else self.layout.gathered(params)

    def _seconds(self) -> float:
        return self.progress.seconds + time.monotonic() - self.started

    def _write(self, row: dict[str, Any]) -> None:
        self.metrics.write(row)
        self.bar.show(row)

    def _fetch_totals(self) -> Totals:
        totals = jax.device_get(self.state.totals)
        if not math.isfinite(totals.loss) or not math.isfinite(totals.gradient_norm):
            raise self._diverged("The loss or its gradient")
        return totals

    def _check_finite(self) -> None:
        self._fetch_totals()
        if not all_finite(self.state.params):
            raise self._diverged("A parameter")

    def _diverged(self, what: str) -> TrainingDiverged:
        steps = self.checkpoints.steps()
        kept = (
            f"the last good checkpoint is that of step {steps[-1]}" if steps else "none was saved"
        )
        return TrainingDiverged(
            f"{what} stopped being finite between steps {self.progress.logged} and {self.step}; "
            f"{kept}. Try a lower learning_rate, more warmup_steps, clip_norm=1.0, or float32."
        )

    @contextlib.contextmanager
    def _paused(self, what: str, *, part: str):
        """Excludes evaluations and checkpoints from the tokens per second; the bar names them."""
        self.update.wait()
        start = time.monotonic()
        with self.bar.doing(what), self.clock.of(part):
            yield
        self.window_start += time.monotonic() - start


def _tree(state: TrainState) -> dict[str, Any]:
    counters = {"step": state.step, "key": state.key, "totals": state.totals}
    return {"params": state.params, "opt": state.opt, "counters": counters}
