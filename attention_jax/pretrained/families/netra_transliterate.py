"""netra-transliterate: Khmer in Latin letters to Khmer script, by gated recurrent units.

    path = "bi_gru_attention_khmer_transliterator.keras"    # of the package netra-transliterate
    loaded = load(path, family="netra_transliterate")

A source is `LENGTH` tokens, filled up with PAD, which the model reads as it reads others: all of
its positions are real. Reference: Nhem 2025, the package netra-transliterate 1.0.1 on PyPI; names:
Keras.
"""

from attention_jax.models.seq2seq_gru import GRUConfig, Seq2SeqGRU
from attention_jax.pretrained.families._parts import refused
from attention_jax.pretrained.types import Described, Family, Form, Rule, Settings, Special, Tensor
from attention_jax.pretrained.vocabulary import order_of

LENGTH = 25  # tokens of a source
SOURCE = Special(padding=0, unknown=1)
SOURCE_ORDER = order_of(SOURCE, 28)  # their id of each of our tokens of the source


def config(settings: Settings) -> GRUConfig:
    """Our configuration; what is not said is as in the package's file."""
    return GRUConfig(
        settings.get("source_size", 28) + 2,  # tokens that begin and end, of ours
        settings.get("vocab_size", 81),
        embedding=settings.get("embedding_size", 32),
        width=settings.get("hidden_size", 64),
    )


def described(config: GRUConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: the model does not attend, or reads one way.
    """
    refused(config, "netra_transliterate", attentive=True, bidirectional=True)
    return {
        "model_type": "netra_transliterate",
        "source_size": config.source_size - 2,
        "vocab_size": config.vocabulary_size,
        "embedding_size": config.embedding,
        "hidden_size": config.width,
    }


def rules(config: GRUConfig) -> list[Rule]:
    """The table of names."""
    letters = order_of(SOURCE, config.source_size - 2).rows()
    layers = "layers"
    both = f"{layers}/bidirectional"
    found = [
        Rule(f"{layers}/embedding/vars/0", "source/embedding", letters),
        Rule(f"{layers}/embedding_1/vars/0", "target/embedding"),
        Rule(f"{layers}/time_distributed/layer/vars/0", "join/kernel"),
        Rule(f"{layers}/time_distributed/layer/vars/1", "join/bias"),
        Rule(f"{layers}/additive_attention/vars/0", "vector"),
        Rule(f"{layers}/dense/vars/0", "output/kernel", _columns(config.vocabulary_size)),
        Rule(f"{layers}/dense/vars/1", "output/bias"),
    ]
    for theirs, ours in (
        (f"{both}/forward_layer", "readers/0"),
        (f"{both}/backward_layer", "readers/1"),
        (f"{layers}/gru", "writer"),
    ):
        biases = (f"{ours}/of_input/bias", f"{ours}/of_state/bias")
        found += [
            Rule(f"{theirs}/cell/vars/0", f"{ours}/of_input/kernel", GATES),
            Rule(f"{theirs}/cell/vars/1", f"{ours}/of_state/kernel", GATES),
            Rule(f"{theirs}/cell/vars/2", biases, BIASES),
        ]
    return found


def _columns(size: int) -> Form:
    """Columns of tokens, in our order."""
    rows = order_of(_target(size), size).rows()
    return Form(lambda x: rows.read(x.T).T, lambda x: rows.write(x.T).T)


def _turned(x: Tensor) -> Tensor:
    """The first two of three gates in the other order: Keras has z, r, n."""
    shape = x.shape
    return x.reshape(*shape[:-1], 3, -1)[..., [1, 0, 2], :].reshape(shape)


GATES = Form(_turned, _turned)
BIASES = Form(lambda x: _turned(x).reshape(-1), lambda x: _turned(x.reshape(2, -1)))


def special(settings: Settings) -> Special:
    """Of the target."""
    return _target(settings.get("vocab_size", 81))


def _target(size: int) -> Special:
    """A tab begins, and a line break ends."""
    return Special(padding=0, begin=size - 2, end=size - 1, unknown=1)


FAMILY = Family(
    name="netra_transliterate",
    model_types=("netra_transliterate",),
    config=config,
    build=lambda config, rngs: Seq2SeqGRU(config, rngs=rngs),
    rules=rules,
    special=special,
    described=described,
    rows=("target/embedding", "output/bias"),
    ignored=("optimizer/.*",),
)
