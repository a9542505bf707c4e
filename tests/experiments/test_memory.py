"""What scripts of memory share: batches of three kinds that share none, and scores by distance."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.models import language
from attention_jax.nn.transformer import TransformerConfig
from experiments.common import flags, timing
from experiments.language import EXPERIMENT as LANGUAGE
from experiments.memory import EXPERIMENT as MEMORY
from experiments.memory import config, costs, evaluate
from experiments.memory.config import DataFlags, check, training, validation

DATA = DataFlags(length=32, vocabulary=64, rows=8, test_rows=24, symbols=4, alphabet=4)


class Forgets(nnx.Module):
    """Knows every answer, but says it only where it lies less than `reach` positions back."""

    def __init__(self, reach, answers):
        self.reach, self.answers = reach, nnx.data(answers)

    def logits(self, tokens):
        targets, distance = self.answers
        said = jnp.where(distance < self.reach, targets, (targets + 1) % 64)
        return nnx.one_hot(said, 64)


def test_training_validation_and_test_share_no_sequence():
    kinds = [training(DATA, 0), validation(DATA, 0), config.testing(DATA, 0, 32)]
    rows = [{row.tobytes() for index in range(8) for row in kind[index].tokens} for kind in kinds]
    assert all(len(own) == 64 for own in rows)
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])


def test_how_many_are_tested_changes_no_training():
    before = training(DATA, 0)
    after = training(DATA._replace(test_rows=8), 0)
    assert before.batches_per_epoch == after.batches_per_epoch
    np.testing.assert_array_equal(before[3].tokens, after[3].tokens)


@pytest.mark.parametrize("reach", [4, 8, 16])
def test_what_is_forgotten_shows_at_its_distance(reach):
    batches = config.testing(DATA, 0, 32)
    batches.batches_per_epoch = 1
    batch, distance = batches.drawn(0)
    model = Forgets(reach, (jnp.asarray(batch.targets), jnp.asarray(distance)))
    graphdef, params = nnx.split(model)
    found = evaluate.scorer(graphdef, adds=False)(params, batches)
    for low, high, right, count in found["distances"]:
        assert count > 0 and right == (count if high <= reach else 0), (low, high)
    counts = batch.weights > 0
    expected = [
        [int((own & (far < reach)).sum()), int(own.sum())]
        for own, far in zip(counts, distance, strict=True)
    ]
    assert found["rows"] == expected


def test_tokens_are_read_at_the_end_of_all_others(monkeypatch):
    kept = []

    def repeated(call, repeats):
        kept.append(call())
        return timing.Times(first=1.0, seconds=(1.0,) * repeats)

    monkeypatch.setattr(timing, "repeated", repeated)
    sizes = TransformerConfig(vocabulary_size=9, width=8, heads=2, layers=1, feed_forward=8)
    graphdef, params = nnx.split(language.build(sizes, rngs=nnx.Rngs(0)))
    found = costs.reading(graphdef, params, 100, 1)
    past, _ = kept[0]
    assert past.position == 100 and found["reading_seconds"] == 1 / costs.READ
    keys, values = past.layers[0]
    read = np.abs(np.asarray(keys)).sum((0, 1, 3)) > 0
    assert not read[: 100 - costs.READ].any() and read[100 - costs.READ :].all()
    assert found["state_bytes"] == keys.nbytes + values.nbytes + past.position.nbytes


def test_costs_that_the_problem_does_not_fit_into_are_refused_at_once():
    with pytest.raises(ValueError, match="a quarter of the length; got pairs=4, length=8"):
        check(DATA, (64, 8))


@pytest.mark.parametrize(
    ("pattern", "layers", "told"),
    [
        ("[2*alibi, dot]", 3, []),
        ("[2*alibi, dot]", 4, ["[2*alibi, dot] in the layers; 4 layers cut the pattern of 3 off"]),
        ("[5*alibi, dot]", 2, ["alibi in the layers; 2 layers cut the pattern of 6 off"]),
        ("[alibi, 5*dot]", 2, ["[alibi, dot] in the layers; 2 layers cut the pattern of 6 off"]),
    ],
)
@pytest.mark.parametrize("experiment", [MEMORY, LANGUAGE])
def test_a_pattern_that_is_cut_off_is_said(experiment, pattern, layers, told):
    own = flags.replace(experiment.config, attention=pattern, layers=layers)
    assert list(experiment.notes(own, None, None)) == [f"attention: {line}" for line in told]
