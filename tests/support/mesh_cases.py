"""Trainings of tiny experiments on 8 devices beside one, for `tests/parallel/test_meshes.py`."""

import json
import tempfile
from pathlib import Path

import jax
import numpy as np

from attention_jax.data.batching import pipeline
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.translate import DecodingConfig, Translator
from attention_jax.training import loop
from attention_jax.training.digests import by_path
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.prepare import plan, prepare
from attention_jax.training.step import Given, Totals
from experiments.common import flags
from experiments.common.experiment import find
from tests.support import shared_programs

SIZES = ["--width=16", "--heads=4", "--layers=1", "--feed_forward=32", "--dropout=0"]
REVERSE = "--task=reverse --task_option=vocabulary=8 --task_option=train_size=120 --task_option="
REVERSE += "validation_size=8 --task_option=test_size=12 --task_option=max_length=6 --max_length=16"
TONES = "--sound_option=train_size=24 --sound_option=validation_size=2 --sound_option=test_size=2"
TONES += " --sound_option=most_words=1 --frames_per_batch=1200 --buckets=1 --frequency_masks=0"
OWN = {
    "translation": [*REVERSE.split(), "--tokens_per_batch=112"],
    "language": ["--windows=12", "--context=16"],
    "images": ["--images_per_batch=12"],
    "speech": [*TONES.split(), "--time_masks=0", "--mels=8"],
    "memory": ["--rows=12", "--length=16", "--vocabulary=32"],
}
STEPS = 5
TEXT = "to be or not to be, that is the question; " * 20


def ready(name, options):
    """Model, batches, objective and settings of an experiment."""
    experiment = find(name)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text(TEXT)
        named = [f"--text_file={text}"] if name == "language" else []
        own = [*SIZES, *OWN[name], *named, *options]
        config, _ = flags.parse(experiment.config, own)
        data = experiment.load(config)
    known = experiment.learn(config, data, None)
    batches = experiment.batches(config, data, known)
    settings = config.training.settings(0, config.mesh)._replace(
        steps=STEPS, learning_rate=1e-3, schedule="constant", warmup_steps=0
    )
    return experiment.build(config, known), batches, experiment.objective(config), settings


def measure(case):
    """Of `[kind, experiment, options, mesh]`, what `kind` asks."""
    kind, name, options, mesh = case
    return globals()[kind](*ready(name, options), mesh)


def errors(build, batches, objective, settings, mesh):
    """Largest relative errors of sums over steps, of the first gradient, and of an evaluation."""
    expected = followed(build, batches, objective, settings)
    found = followed(build, batches, objective, settings._replace(mesh=mesh))
    return [relative(*pair) for pair in zip(found, expected, strict=True)]


def followed(build, batches, objective, settings):
    graphdef, state, steps, layout = prepare(build, settings, objective)
    place = (lambda batch: batch) if layout is None else layout.place
    iterator = pipeline(batches)
    seen = [next(iterator) for _ in range(STEPS * settings.accumulate)]
    zeros = steps.zeros(state.params)
    gradient, _ = steps.gather(state, place(seen[0]), 0, zeros, Totals.zero())
    sums = []
    for step in range(STEPS):
        own = [place(x) for x in seen[step * settings.accumulate :][: settings.accumulate]]
        state, totals = updated(steps, state, own)
        sums.append([float(x) for x in totals])
    params = state.params if layout is None else layout.gathered(state.params)
    few = type("Few", (), {"epoch": lambda self: seen[:3]})()
    evaluated = list(loss_evaluator(graphdef, objective)(params, few).values())
    return {"sums": np.array(sums)}, jax.device_get(gradient), {"scores": np.array(evaluated)}


def given(build, batches, objective, settings, mesh):
    """Says where a state on a mesh begins with parameters of another seed, and what moves."""
    first = jax.device_get(prepare(build, settings._replace(seed=7), objective).state.params)
    own = settings._replace(mesh=mesh, freeze=("embedding",))
    _, state, steps, layout = prepare(Given(build, first), own, objective)
    own, before = by_path(first), by_path(jax.device_get(state.params))
    after = by_path(jax.device_get(steps.whole(state, layout.place(batches[0]))[0].params))
    still = {name: bool((x == after[name]).all()) for name, x in own.items()}
    return {
        "same": all((x == before[name]).all() for name, x in own.items()),
        "frozen": all(same for name, same in still.items() if "embedding" in name),
        "moved": not any(same for name, same in still.items() if "kernel" in name),
    }


def updated(steps, state, batches):
    if len(batches) == 1:
        return steps.whole(state, batches[0])
    gradient, totals = steps.zeros(state.params), Totals.zero()
    for index, batch in enumerate(batches):
        gradient, totals = steps.gather(state, batch, index, gradient, totals)
    return steps.update(state, gradient, totals)


def relative(found, expected):
    """The largest error of a leaf, by its own size or by a hundredth of the largest leaf's.

    Gradients of the biases of keys are sums that vanish: all of them is rounding.
    """
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    largest = max(float(np.abs(b).max()) for _, b in pairs)
    return max(
        float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-2 * largest) for a, b in pairs
    )


def collectives(build, batches, objective, settings, mesh):
    """Collectives of a compiled update, those inside of loops, and shapes that matter."""
    _, state, steps, layout = prepare(build, settings._replace(mesh=mesh), objective)
    batch = layout.place(batches[0])
    text = steps.whole.lower(state, batch).compile().as_text()
    found, looped = shared_programs.collectives(text)
    return {"found": found, "looped": looped, "rows": len(batch.weights)}


def planned(build, batches, objective, settings, mesh):
    """The plan's text and numbers, beside bytes that devices hold in truth."""
    found = plan(build, settings._replace(mesh=mesh), batches, objective)
    _, state, _, _ = prepare(build, settings._replace(mesh=mesh), objective)

    def held(tree):
        device = jax.devices()[0]
        shards = [shard for x in jax.tree.leaves(tree) for shard in x.addressable_shards]
        return sum(shard.data.nbytes for shard in shards if shard.device == device)

    return {
        "text": str(found),
        "planned": [found.parameter_bytes, found.optimizer_bytes],
        "held": [held(state.params), held(state.opt)],
    }


def resumed(build, batches, objective, settings, mesh):
    """Differences of a run on a mesh that goes on elsewhere, `mesh>other`, from one on a device."""
    first, other = (part or None for part in mesh.split(">"))
    settings = settings._replace(
        checkpoint_every=2, evaluate_every=100, log_every=1, keep_last=5, steps=STEPS
    )
    graphdef = prepare(build, settings, objective).graphdef
    evaluate = loss_evaluator(graphdef, objective)
    few = type("Few", (), {"epoch": lambda self: [batches[0]]})()

    def run(folder, settings, **more):
        scores = lambda params: evaluate(params, few)  # noqa: E731
        return loop.fit(build, batches, scores, folder, settings, objective=objective, **more)

    with tempfile.TemporaryDirectory() as folder:
        whole = run(f"{folder}/one", settings)
        run(f"{folder}/mesh", settings._replace(mesh=first, steps=2))
        again = run(f"{folder}/mesh", settings._replace(mesh=other), resume=True)
        texts = [Path(folder, own, "metrics.jsonl").read_text() for own in ("one", "mesh")]
    rows = [[json.loads(line) for line in text.splitlines()] for text in texts]
    losses = [np.array([x["loss"] for x in own if x["split"] == "train"]) for own in rows]
    assert len(losses[0]) == len(losses[1]) == STEPS
    return {
        "loss": float(np.abs(losses[1] / losses[0] - 1).max()),
        "tokens": [whole.tokens, again.tokens],
        "metric": [whole.metric, again.metric],
    }


def decoded(build, batches, objective, settings, mesh):
    """Translations by beam search and greedily, on a mesh and on one device."""
    found = []
    letters = "abcdefgh"
    tokenizer = Tokenizer.learn([letters], kind="character")
    sources = [letters[i : i + 3] + letters[:j] for i in range(5) for j in range(4)]
    for own in (None, mesh):
        graphdef, state, _, layout = prepare(build, settings._replace(mesh=own), objective)
        params = state.params if layout is None else layout.for_use(state.params)
        for config in (DecodingConfig("beam", beam_size=3, nbest=2), DecodingConfig()):
            ranked = Translator(graphdef, tokenizer, config)(params, sources)
            found.append([[(x.text, x.score) for x in own] for own in ranked])
    return found
