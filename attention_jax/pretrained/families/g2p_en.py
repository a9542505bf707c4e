"""g2p_en: English letters to phonemes, by gated recurrent units without attention.

    loaded = load("checkpoint20.npz", family="g2p_en")    # of the package g2p-en
    ids = [*graphemes("activationist"), EOS]              # of the source

Reference: Park and Kim 2019, the package g2p-en 2.1.0 on PyPI.
"""

from collections.abc import Iterable

from attention_jax.data.types import EOS, UNKNOWN
from attention_jax.models.seq2seq_gru import GRUConfig, Seq2SeqGRU
from attention_jax.pretrained.families._parts import refused
from attention_jax.pretrained.types import (
    TRANSPOSED,
    Described,
    Family,
    Rule,
    Settings,
    Special,
)
from attention_jax.pretrained.vocabulary import order_of

LETTERS = "abcdefghijklmnopqrstuvwxyz"  # after <pad>, <unk> and </s> in theirs
SOURCE = Special(padding=0, end=2, unknown=1)
_STRESSED = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH")
_SOUNDS = (
    *("AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T").split(),
    *("TH UH UW V W Y Z ZH").split(),
)


def phonemes() -> tuple[str, ...]:
    """The phonemes in order, after four special tokens in theirs; vowels have three stresses."""
    found: list[str] = []
    for sound in _SOUNDS:
        plain = [sound] if sound not in _STRESSED else []
        stressed = [f"{sound}{n}" for n in range(3)] if sound in (*_STRESSED, "UW") else []
        found += plain + stressed
    return tuple(found)


def graphemes(word: str) -> list[int]:
    """Our ids of the letters of a word, in lower case; others are unknown.

    >>> graphemes("ab!")
    [4, 5, 3]
    """
    return [LETTERS.index(x) + UNKNOWN + 1 if x in LETTERS else UNKNOWN for x in word]


def read_out(ids: Iterable[int]) -> list[str]:
    """The phonemes of our ids, up to the end.

    >>> read_out([15, 16, 2, 0])
    ['AO2', 'AW0']
    """
    names, found = phonemes(), []
    for i in ids:
        if i == EOS:
            break
        found.append(names[i - UNKNOWN - 1] if i > UNKNOWN else "<unk>")
    return found


def config(settings: Settings) -> GRUConfig:
    """Our configuration; what is not said is as in the package's file."""
    return GRUConfig(
        settings.get("source_size", len(LETTERS) + 3) + 1,  # a token that begins, of ours
        settings.get("vocab_size", len(phonemes()) + 4),
        embedding=settings.get("embedding_size", 256),
        width=settings.get("hidden_size", 256),
        bidirectional=False,
        attentive=False,
    )


def described(config: GRUConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: the model attends.
    """
    refused(config, "g2p_en", attentive=False, bidirectional=False)
    return {
        "model_type": "g2p_en",
        "source_size": config.source_size - 1,
        "vocab_size": config.vocabulary_size,
        "embedding_size": config.embedding,
        "hidden_size": config.width,
    }


def rules(config: GRUConfig) -> list[Rule]:
    """The table of names."""
    letters = order_of(SOURCE, config.source_size - 1).rows()
    found = [
        Rule("enc_emb", "source/embedding", letters),
        Rule("dec_emb", "target/embedding"),
        Rule("fc_w", "output/kernel", TRANSPOSED),
        Rule("fc_b", "output/bias"),
    ]
    for theirs, ours in (("enc", "readers/0"), ("dec", "writer")):
        for other, own in (("ih", "of_input"), ("hh", "of_state")):
            found += [
                Rule(f"{theirs}_w_{other}", f"{ours}/{own}/kernel", TRANSPOSED),
                Rule(f"{theirs}_b_{other}", f"{ours}/{own}/bias"),
            ]
    return found


def special(settings: Settings) -> Special:
    """Of the phonemes."""
    del settings
    return Special(padding=0, begin=2, end=3, unknown=1)


FAMILY = Family(
    name="g2p_en",
    model_types=("g2p_en",),
    config=config,
    build=lambda config, rngs: Seq2SeqGRU(config, rngs=rngs),
    rules=rules,
    special=special,
    described=described,
    rows=("target/embedding", "output/kernel", "output/bias"),
)
