"""CTC against brute force: all paths, on inputs so small that they can be written down."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.data.batching import pad
from attention_jax.data.types import EOS
from attention_jax.decoding import ctc
from attention_jax.nn.protocols import EncoderOutput
from attention_jax.training import objectives


def collapse(path):
    """Merges repeats, then drops blanks."""
    merged = [token for token, _ in itertools.groupby(path)]
    return tuple(token for token in merged if token != ctc.BLANK)


def all_labels(log_p):
    """Labels -> log-probability, by going through every path."""
    s, v = log_p.shape
    total = {}
    for path in itertools.product(range(v), repeat=s):
        p = np.exp(sum(log_p[i, token] for i, token in enumerate(path)))
        total[collapse(path)] = total.get(collapse(path), 0.0) + p
    return {labels: float(np.log(p)) for labels, p in total.items()}


def random_log_p(seed, s=5, v=4, scale=2.0):
    logits = scale * np.random.default_rng(seed).normal(size=(s, v))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_all_beginnings_is_exact(seed):
    log_p = random_log_p(seed)
    expected = sorted(all_labels(log_p).items(), key=lambda item: -item[1])
    found = ctc.beam(log_p, beam_size=2000, nbest=10)
    assert [one.tokens for one in found] == [labels for labels, _ in expected[:10]]
    np.testing.assert_allclose([one.score for one in found], [p for _, p in expected[:10]])


@pytest.mark.parametrize("seed", range(4))
def test_a_small_beam_finds_no_more_than_there_is(seed):
    log_p = random_log_p(seed, s=6, v=3)
    exact = all_labels(log_p)
    for beam_size in (1, 3, 8):
        best = ctc.beam(log_p, beam_size=beam_size)[0]
        assert best.score <= exact[best.tokens] + 1e-9
    assert ctc.beam(log_p, beam_size=8)[0].tokens == max(exact, key=lambda labels: exact[labels])


def plain_beam(log_p, beam_size):
    """The algorithm without any token left aside."""
    kept = {(): (1.0, 0.0)}
    for at in np.exp(log_p):
        found = {}
        for tokens, (blank, token) in kept.items():
            for new, p in enumerate(at):
                same = bool(tokens) and new == tokens[-1]
                if new == ctc.BLANK:
                    moves = [(tokens, ((blank + token) * p, 0.0))]
                elif same:
                    moves = [(tokens, (0.0, token * p)), ((*tokens, new), (0.0, blank * p))]
                else:
                    moves = [((*tokens, new), (0.0, (blank + token) * p))]
                for name, (b, t) in moves:
                    before = found.get(name, (0.0, 0.0))
                    found[name] = (before[0] + b, before[1] + t)
        kept = dict(sorted(found.items(), key=lambda item: -sum(item[1]))[:beam_size])
    return [(tokens, float(np.log(sum(both)))) for tokens, both in kept.items()]


@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_tokens_left_aside_change_nothing(beam_size):
    for seed in range(6):
        log_p = random_log_p(seed, s=9, v=12, scale=1.0)
        expected = plain_beam(log_p, beam_size)
        found = ctc.beam(log_p, beam_size=beam_size, nbest=beam_size)
        assert [one.tokens for one in found] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([one.score for one in found], [p for _, p in expected])


def test_the_loss_is_that_of_all_paths():
    log_p = random_log_p(0, s=5, v=6)
    exact = all_labels(log_p[:4])
    labels = np.array([[4, 5, 0], [5, 5, 0], [4, 0, 0]])
    real = (labels > 0).astype(np.float32)
    logits = jnp.asarray(np.broadcast_to(log_p, (3, 5, 6)), jnp.float32)
    mask = jnp.broadcast_to(jnp.arange(5)[None] < 4, (3, 5))
    found = ctc.loss(logits, mask, jnp.asarray(labels), jnp.asarray(real))
    expected = [-exact[tuple(row[row > 0].tolist())] for row in labels]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_greedy_collapses_the_best_path():
    logits = np.random.default_rng(0).normal(size=(20, 9, 4)).astype(np.float32)
    lengths = np.random.default_rng(1).integers(0, 10, 20)
    mask = np.arange(9) < lengths[:, None]
    tokens, counts = jax.jit(ctc.greedy)(logits, mask)
    for row in range(20):
        path = logits[row, : lengths[row]].argmax(axis=1).tolist()
        labels = collapse(path)
        assert tuple(np.asarray(tokens[row, : counts[row]]).tolist()) == labels
        assert not np.asarray(tokens[row, counts[row] :]).any()


def at_labels(path):
    """Which label the path is at, frame by frame; None at the blank."""
    found, label, before = [], -1, ctc.BLANK
    for token in path:
        label += token not in (ctc.BLANK, before)
        found.append(None if token == ctc.BLANK else label)
        before = token
    return found


@pytest.mark.parametrize("labels", [(1,), (1, 2), (2, 2), (1, 2, 2), (1, 2, 1)], ids=str)
def test_labels_are_where_their_paths_are(labels):
    log_p = random_log_p(1)
    log_p[3, 2] = -np.inf
    expected, total = np.zeros((len(labels), 5)), 0.0
    for path in itertools.product(range(4), repeat=5):
        if collapse(path) == labels:
            p = np.exp(sum(log_p[i, token] for i, token in enumerate(path)))
            total += p
            for frame, label in enumerate(at_labels(path)):
                if label is not None:
                    expected[label, frame] += p
    found = ctc.posteriors(log_p, labels)
    np.testing.assert_allclose(found, expected / total, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("labels", "expected"), [([], 0), ([4], 1), ([4, 5], 2), ([4, 4], 3), ([4, 4, 4, 5], 6)]
)
def test_the_fewest_frames_are_those_of_the_shortest_path(labels, expected):
    assert ctc.frames_needed(labels) == expected
    paths = itertools.product([0, 4, 5], repeat=expected)
    assert any(collapse(path) == tuple(labels) for path in paths)
    if expected:
        shorter = itertools.product([0, 4, 5], repeat=expected - 1)
        assert not any(collapse(path) == tuple(labels) for path in shorter)


class Fixed:
    """A model whose logits are given."""

    def __init__(self, logits):
        self.logits = jnp.asarray(logits, jnp.float32)

    def encode(self, source, source_mask, *, rngs=None):
        return EncoderOutput(self.logits, jnp.asarray(source_mask))

    def aligner(self, memory, *, rngs=None):
        return memory.states


@pytest.mark.slow
def test_the_objective_sums_over_transcripts_and_counts_whole_ones():
    batch = pad([((7,) * 4, (4, 5)), ((7,) * 4, (5, 4, 4))], rows=3, length=5)
    log_p = np.stack([random_log_p(seed, s=5, v=6) for seed in range(3)])
    # The best path of the first recording spells it; that of the second does not.
    log_p[0] = np.log(np.full((5, 6), 0.02))
    log_p[0, np.arange(5), [4, 4, 0, 5, 0]] = np.log(0.9)
    found = objectives.ctc(Fixed(log_p), batch)
    exact = [all_labels(log_p[i]) for i in range(2)]
    norm = np.log(np.exp(log_p[0]).sum(axis=1)).sum()
    expected = -(exact[0][4, 5] - norm) - exact[1][5, 4, 4]
    np.testing.assert_allclose(found, (expected, 2 + 3, 2), rtol=1e-5)
    assert EOS not in np.asarray(batch.target_in[:, 1:])


def test_what_goes_without_tokens_of_their_own_is_refused():
    batch = pad([((7,), (4,))], rows=1, length=3)
    with pytest.raises(ValueError, match="`label_smoothing` must be 0 with CTC; got 0.1"):
        objectives.ctc(Fixed(np.zeros((1, 3, 6))), batch, label_smoothing=0.1)
    with pytest.raises(ValueError, match="`nbest` between 1 and `beam_size`; got beam_size=2, nb"):
        ctc.beam(np.zeros((2, 3)), beam_size=2, nbest=3)
    with pytest.raises(ValueError, match="got 2 frames for labels that need 3"):
        ctc.posteriors(np.zeros((2, 3)), (1, 1))


@pytest.mark.slow
def test_only_the_whole_transcript_counts_as_correct():
    path = np.array([[4, 4, 0, 5, 0], [4, 0, 6, 0, 0], [4, 5, 6, 0, 0], [4, 0, 0, 0, 0]])
    logits = jnp.asarray(np.eye(7, dtype=np.float32)[path])
    labels = jnp.array([[4, 5, 0], [4, 5, 0], [4, 5, 0], [4, 5, 0]])
    real = (labels > 0).astype(jnp.float32)
    # The same, another token, one more, one less.
    found = ctc.right(logits, jnp.ones((4, 5), bool), labels, real)
    assert found.tolist() == [1.0, 0.0, 0.0, 0.0]
    cut = jnp.arange(5)[None] < jnp.array([3, 5, 2, 5])[:, None]  # frames 3 and on are padding
    assert ctc.right(logits, cut, labels, real).tolist() == [0.0, 0.0, 1.0, 0.0]
