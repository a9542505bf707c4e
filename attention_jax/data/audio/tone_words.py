"""Words spelled by tones: a synthetic speech recognition task that needs no download.

Each letter is a chord of two tones, as on the keys of a telephone, of random length, loudness and
detuning, followed by a gap; words are separated by a longer pause; noise is added throughout.
"""

from collections.abc import Sequence

import numpy as np

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.audio.corpus import Corpus, Samples, Utterance

RATE = 8000
LETTERS = "aceilnorst"
WORDS = (
    "act air ale ant arc art ate cane car case cast cat coal coast coil coin colon core corn cost "
    "crane ear east eat enter ice inn ion iron lace lane last later lean learn lens lent lesson "
    "let line lion list loan local loose near nest net nice nice noise nose oats ocean oil one "
    "onto oral rain rat real rice roast role root rose sail salt sea seal seat silo sir site soil "
    "solar sole son sonar star stone store tail tale tan tea ten tennis tent tie tile tin toast "
    "toe tone train treat tree"
).split()
# Each letter has a tone of each group; any two letters differ in at least one.
_LOW, _HIGH = (450.0, 650.0, 900.0, 1200.0), (1600.0, 2050.0, 2600.0)

_SPLITS = {"train": 0, "validation": 1, "test": 2, "unseen": 3}


@typed_calls
def tones(
    *,
    train_size: int = 4000,
    validation_size: int = 200,
    test_size: int = 500,
    most_words: int = 3,
    noise: float = 0.05,
    seed: int = 0,
) -> Corpus:
    """Recordings of 1 to `most_words` words of `WORDS`.

    Every tenth word is held out of training, validation and "test"; "unseen" holds those alone.

    Args:
      train_size: training recordings.
      validation_size: validation recordings.
      test_size: recordings in each test.
      most_words: largest number of words in a recording.
      noise: standard deviation of the noise; tones have amplitudes of 0.1 to 0.4.
      seed: seed of the recordings, not negative.

    Raises:
      ValueError: a size below 1, or negative noise.
    """
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    for split, size in sizes.items():
        checks.positive(f"{split}_size", size)
    checks.positive("most_words", most_words)
    checks.natural("seed", seed)
    if not noise >= 0:
        raise ValueError(f"`noise` must not be negative; got {noise}.")
    words = sorted(set(WORDS))
    unseen = words[::10]
    heard = [word for word in words if word not in unseen]

    def make(split: str, count: int) -> list[Utterance]:
        known = unseen if split == "unseen" else heard
        return [
            _utterance(f"{split} {i}", known, most_words, noise, (seed, _SPLITS[split], i))
            for i in range(count)
        ]

    return Corpus(
        name="tones",
        rate=RATE,
        train=make("train", train_size),
        validation=make("validation", validation_size),
        tests={split: make(split, test_size) for split in ("test", "unseen")},
    )


@typed_calls
def chord(letter: str) -> tuple[float, float]:
    """Frequencies of a letter's two tones, in Hz.

    >>> chord("a"), chord("t")
    ((450.0, 1600.0), (650.0, 2600.0))
    """
    checks.one_of("letter", letter, tuple(LETTERS))
    number = LETTERS.index(letter)
    return _LOW[number % len(_LOW)], _HIGH[number // len(_LOW)]


def _utterance(
    name: str, words: Sequence[str], most: int, noise: float, seed: tuple[int, ...]
) -> Utterance:
    generator = np.random.default_rng(seed)
    chosen = generator.choice(words, generator.integers(1, most + 1))
    text = " ".join(chosen)
    lengths = [int(RATE * _seconds(generator, letter)) for letter in text]
    edges = [int(RATE * x) for x in generator.uniform(0.02, 0.1, 2)]
    total = sum(lengths) + sum(edges)

    def samples() -> Samples:
        own = np.random.default_rng((*seed, 1))
        out, at = np.float32(noise) * own.standard_normal(total, np.float32), edges[0]
        loudness = own.uniform(0.1, 0.4)
        for letter, length in zip(text, lengths, strict=True):
            if letter != " ":
                heard = int(length * own.uniform(0.6, 0.85))
                out[at : at + heard] += loudness * _tone(letter, heard, own)
            at += length
        return np.clip(out, -1, 1)

    return Utterance(name, text, total, samples)


def _seconds(generator: np.random.Generator, letter: str) -> float:
    return generator.uniform(0.12, 0.25) if letter == " " else generator.uniform(0.07, 0.16)


def _tone(letter: str, length: int, generator: np.random.Generator) -> np.ndarray:
    """A chord with attack and release of 5 ms, up to 2 % out of tune."""
    at = np.arange(length, dtype=np.float32) / RATE
    detuned = np.array(chord(letter), np.float32) * np.float32(generator.uniform(0.98, 1.02))
    phases = generator.uniform(0, 2 * np.pi, 2).astype(np.float32)
    both = np.sin(2 * np.pi * detuned[:, None] * at + phases[:, None]).sum(axis=0) / 2
    edge = np.minimum(1, np.minimum(at, at[::-1]) / 0.005)
    return both * edge
