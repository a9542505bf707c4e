"""Two small trained networks of letters, word by word beside their packages and equations."""

import collections
import importlib
import importlib.util
import io
import pickle
import sys
import zipfile
from pathlib import Path
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import decoding, pretrained
from attention_jax.data.types import EOS, PAD, Seq2SeqBatch
from attention_jax.models.seq2seq_gru import GRUConfig, Seq2SeqGRU
from attention_jax.pretrained.families import g2p_en, netra_transliterate
from attention_jax.pretrained.types import Settings
from tests.support import checkpoints

# Spelled words and words that nobody has heard, which the first network was made for.
WORDS = (
    "activationist attention bahdanau keyboard gradient tensor flaxen jaxtyping beartype wug "
    "blicket dax florp snark jabberwock slithy toves gyre gimble wabe mimsy borogoves mome raths "
    "outgrabe frumious bandersnatch vorpal manxome tumtum uffish whiffling tulgey burbled galumph "
    "beamish frabjous chortled brillig quark gluon pyrex velcro zipper googol byte pixel modem "
    "laser radar sonar quasar pulsar blogger vlogger podcast emoji meme selfie hashtag bitcoin "
    "ethereum kubernetes docker linux ubuntu debian fedora python haskell ocaml rust erlang scala "
    "kotlin swift numpy scipy pandas pytorch keras theano caffe xgboost sklearn colab jupyter "
    "anaconda conda mamba poetry ruff pytest tox sphinx i aa strengths rhythm queue"
).split()
KHMER = (
    "sokha srolanh khnhom bong oun phnom penh siem reap battambang kampot kep takeo kandal prey "
    "veng svay rieng kratie mondulkiri ratanakiri pursat pailin chan dara bopha sophea vanna rith "
    "sopheap sreymom kunthea makara meas ream kosal vuthy piseth sambath narin chenda devi "
    "leakhena mealea nary phalla ratha samnang theary vicheka visal borey chantrea kalyan malis "
    "oudom pheakdey rachana sovann tola veasna baksey chamkar domrey krabei kro saing moan tea "
    "trei psar salarean wat phteah tonle mekong sap bassac angkor bayon banteay ta prohm neak pean "
    "preah khan sra srang mebon roluos lolei bakong preap thom touch laor sab baay teuk sach"
).split()


def installed(package, path):
    """A file of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed: a trained network")
    return Path(found.origin).parent / path


def greedy(model, tokens, mask, most):
    """Our ids of what a model writes."""
    memory = model.encode(jnp.asarray(tokens), jnp.asarray(mask))
    found = decoding.greedy(model.step, model.start(memory, most), max_length=most)
    return np.asarray(found.tokens[:, 0]).tolist()


@pytest.fixture
def their_phonemes(monkeypatch):
    """The package's own network, without the corpora that it would fetch."""
    installed("g2p_en", "")
    for name in ("nltk", "nltk.corpus", "nltk.tokenize", "inflect"):
        monkeypatch.setitem(sys.modules, name, mock.MagicMock())
    yield importlib.import_module("g2p_en.g2p").G2p()
    for name in [x for x in sys.modules if x.split(".")[0] == "g2p_en"]:
        del sys.modules[name]


def test_phonemes_of_words_are_those_of_the_package(their_phonemes):
    loaded = pretrained.load(installed("g2p_en", "checkpoint20.npz"), family="g2p_en")
    assert tuple(their_phonemes.phonemes[4:]) == g2p_en.phonemes()
    words = [*WORDS, "naïve", "o'clock"]  # letters that it does not know
    ids = [[*g2p_en.graphemes(word), EOS] for word in words]
    tokens = np.full((len(ids), max(map(len, ids))), PAD)
    for row, own in zip(tokens, ids, strict=True):
        row[: len(own)] = own
    got = [g2p_en.read_out(x) for x in greedy(loaded.model, tokens, tokens != PAD, 20)]
    assert got == [their_phonemes.predict(word) for word in words]
    assert len(words) >= 100


class _Words:
    """What a Keras tokenizer holds: `word_index`."""

    def __setstate__(self, state):
        self.__dict__.update(state)


class _Careful(pickle.Unpickler):
    """Reads the few kinds that the package's file of tokenizers holds, and refuses all others."""

    def find_class(self, module, name):
        if module == "collections" and name in ("OrderedDict", "defaultdict"):
            return getattr(collections, name)
        if (module, name) == ("builtins", "int"):
            return int
        assert (module.split(".")[0], name) == ("keras", "Tokenizer")
        return _Words


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def keras_gru(weights, h, x):
    """One step of Keras' GRU with `reset_after`, whose gates are update, reset and new."""
    kernel, recurrent, (bias, other) = weights
    update, reset, new = np.split(x @ kernel + bias, 3)
    own_update, own_reset, own_new = np.split(h @ recurrent + other, 3)
    z, r = sigmoid(update + own_update), sigmoid(reset + own_reset)
    return z * h + (1 - z) * np.tanh(new + r * own_new)


def their_writing(weights, source, *, begin, end, most):
    """Their ids of what the equations write for one source."""

    def of(path):
        return [weights[f"layers/{path}/vars/{n}"] for n in range(3)]

    table, h = weights["layers/embedding/vars/0"], np.zeros(64)
    states = np.zeros((len(source), 128))
    for path, order, part in (
        ("forward", range(len(source)), slice(64)),
        ("backward", reversed(range(len(source))), slice(64, 128)),
    ):
        h = np.zeros(64)
        for i in order:
            cell = of(f"bidirectional/{path}_layer/cell")
            h = states[i, part] = keras_gru(cell, h, table[source[i]])
    kernel, bias = (weights[f"layers/time_distributed/layer/vars/{n}"] for n in range(2))
    memory, h, token, found = states @ kernel + bias, np.zeros(64), begin, []
    for _ in range(most):
        h = keras_gru(of("gru/cell"), h, weights["layers/embedding_1/vars/0"][token])
        scores = [weights["layers/additive_attention/vars/0"] @ np.tanh(h + m) for m in memory]
        shares = np.exp(np.array(scores) - max(scores))
        context = (shares / shares.sum()) @ memory
        output, bias = (weights[f"layers/dense/vars/{n}"] for n in range(2))
        token = int(np.argmax(np.concatenate([h, context]) @ output + bias))
        if token == end:
            break
        found.append(token)
    return found


def test_khmer_of_words_is_that_of_the_equations():
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: it reads Keras' weights")
    path = installed("khmer_transliterator", "weights/bi_gru_attention_khmer_transliterator.keras")
    with zipfile.ZipFile(path) as archive:
        file = h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")
    weights = {}
    file.visititems(lambda n, x: weights.update({n: x}) if isinstance(x, h5py.Dataset) else None)
    weights = {
        name: np.asarray(x, np.float64) for name, x in weights.items() if "optim" not in name
    }
    with path.with_name("gru_transliteration_assets.pkl").open("rb") as assets:
        found = _Careful(assets).load()
    letters, khmer = (found[f"{x}_tokenizer"].word_index for x in ("eng", "khm"))
    length = netra_transliterate.LENGTH
    assert length == found["max_eng_len"]

    loaded = pretrained.load(path, family="netra_transliterate")
    theirs = np.zeros((len(KHMER), length), int)
    for row, word in zip(theirs, KHMER, strict=True):
        row[: len(word)] = [letters[x] for x in word]
    order = netra_transliterate.SOURCE_ORDER
    tokens = np.vectorize({other: i for i, other in enumerate(order.theirs)}.get)(theirs)
    got = greedy(loaded.model, tokens, np.ones(tokens.shape, bool), 32)
    got = [[loaded.order.theirs[i] for i in x[: [*x, EOS].index(EOS)]] for x in got]
    ends = {"begin": khmer["\t"], "end": khmer["\n"], "most": 32}
    assert got == [their_writing(weights, source, **ends) for source in theirs]
    assert len(KHMER) >= 100


def random_model(family):
    if family == "g2p_en":
        config = GRUConfig(30, 74, 8, 12, bidirectional=False, attentive=False)
    else:
        config = GRUConfig(30, 81, 8, 12)
    return config, Seq2SeqGRU(config, rngs=nnx.Rngs(0))


FAMILIES = {"g2p_en": g2p_en.special, "netra_transliterate": netra_transliterate.special}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_the_same_after_writing_and_reading(tmp_path, family):
    config, model = random_model(family)
    special = FAMILIES[family](Settings({}))
    checkpoints.written(family, config, model, tmp_path, special=special)
    loaded = pretrained.load(tmp_path)
    source, target = (jnp.asarray(np.random.default_rng(n).integers(4, 30, (2, 5))) for n in (0, 1))
    mask = jnp.arange(5)[None] < jnp.asarray([[5], [3]])
    wanted = model.decode(target, model.encode(source, mask))
    got = loaded.model.decode(target, loaded.model.encode(source, mask))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_reproduce_the_call_and_padding_changes_nothing(family):
    _, model = random_model(family)
    source, target = (jnp.asarray(np.random.default_rng(n).integers(4, 30, (2, 5))) for n in (0, 1))
    mask = jnp.arange(5)[None] < jnp.asarray([[5], [3]])
    memory = model.encode(source, mask)
    wanted, state = model.decode(target, memory), model.start(memory, 5)
    for i in range(5):
        state, logits = model.step(state, target[:, i])
        np.testing.assert_allclose(logits, wanted[:, i], rtol=1e-5, atol=1e-6)
    short = model.decode(target[1:], model.encode(source[1:, :3], mask[1:, :3]))
    np.testing.assert_allclose(short, wanted[1:], rtol=1e-5, atol=1e-6)


def test_the_attention_of_a_batch_is_one_call():
    _, model = random_model("netra_transliterate")
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 30, (2, 5)))
    batch = Seq2SeqBatch(tokens, tokens > 3, tokens, tokens, jnp.ones((2, 5)))
    (call,) = model.attention_calls(batch)
    keys, values = call.module.keys_values(call.memory)
    context = call.module.attend(call.module.queries(call.x), keys, values, mask=call.mask)
    joined = jnp.concatenate([call.x, context[:, :, 0]], axis=-1)
    wanted = model.decode(tokens, model.encode(tokens, tokens > 3))
    np.testing.assert_allclose(model.unembed(joined), wanted, rtol=1e-5, atol=1e-6)


def test_a_wrong_size_is_refused(tmp_path):
    config, model = random_model("g2p_en")
    special = g2p_en.special(Settings({}))
    checkpoints.written("g2p_en", config, model, tmp_path, special=special)
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"enc_emb must have shape \(30, 256\)"):
        pretrained.load(path, family="g2p_en")
    sizes = {"embedding_size": 8, "hidden_size": 12}
    assert pretrained.load(path, family="g2p_en", settings=sizes).config == config
    with pytest.raises(ValueError, match="`settings` must be left out where .* says them"):
        pretrained.load(tmp_path, settings=sizes)


def test_both_ways_need_an_attention():
    with pytest.raises(ValueError, match="`bidirectional` must be False where the decoder does"):
        GRUConfig(9, 9, attentive=False).check()
