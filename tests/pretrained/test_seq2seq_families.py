"""Tables of encoder-decoders: what is written is read again, and what does not fit is refused."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from attention_jax import pretrained
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.models import seq2seq
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained import families
from attention_jax.pretrained.loading import Pretrained
from attention_jax.pretrained.types import Special, replaced
from attention_jax.pretrained.vocabulary import order_of
from tests.support.checkpoints import written

SIZE = 13
_SIDE = TransformerConfig(SIZE, 8, layers=2, heads=2, feed_forward=6, norm_epsilon=1e-5)
_HALVES = Sinusoids("halves")
_SLOW = Sinusoids("halves", "tensor2tensor")


def both(**fields) -> Seq2SeqConfig:
    """Two sides that are alike, but for the number of layers."""
    side = _SIDE._replace(**fields)
    return Seq2SeqConfig(side._replace(layers=3), side)


def t5(**fields) -> Seq2SeqConfig:
    found = both(
        norm_kind="rms",
        biases="none",
        positions="none",
        embedding_scale=1.0,
        head_width=3,
        cross_attention="scaled_dot",
        **fields,
    )
    ways = zip(found, (True, False), strict=True)
    said = "t5_bias(buckets=8, max_distance=20, bidirectional={})"
    return Seq2SeqConfig(*(side._replace(attention=said.format(x)) for side, x in ways))


STUDENT = both(norm="post", sinusoids=_SLOW, output_bias=True, norm_epsilon=1e-6, activation="relu")
CONFIGS = {
    "marian": both(norm="post", sinusoids=_HALVES, output_bias=True, activation="swish"),
    "m2m_100": both(sinusoids=_SLOW._replace(offset=2)),
    "mbart": both(positions="learned", embedding_norm=True, output_bias=True, max_length=9),
    "t5": t5(),
    "t5, gated": t5(activation="geglu_tanh", tied=False),
    "bergamot": STUDENT,
    "bergamot, ssru": STUDENT._replace(
        decoder=STUDENT.decoder._replace(recurrence=Recurrence("ssru"), feed_forward=5)
    ),
}
# Bergamot has neither padding nor a first token; T5 begins with padding.
SPECIAL = {"bergamot": Special(end=0, unknown=1), "t5": Special(0, 0, 1, 2)}
SPECIAL["m2m_100"] = Special(padding=1, begin=0, end=2)  # positions are counted by padding


def made(name: str, folder):
    """A random model of ours, written as one of a family."""
    family = families.get(name.partition(",")[0])
    order = order_of(SPECIAL.get(family.name, Special(0, 1, 2)), SIZE)
    config = replaced(CONFIGS[name], vocabulary_size=len(order.theirs))
    model = seq2seq.build(config, rngs=nnx.Rngs(0))
    random, state = np.random.default_rng(0), nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: x + 0.3 * random.normal(size=x.shape), state))
    if family.name == "t5":
        for layers in (model.encoder.layers.layers, model.decoder.layers):
            for layer in layers:
                layer.attention.learned["table"][...] = layers[0].attention.learned["table"][...]
    graphdef, params = nnx.split(model)
    found = Pretrained(family, config, graphdef, nnx.as_pure(params), None, order, {})
    pretrained.save(found, folder)
    return found


def leaves(tree) -> dict[str, np.ndarray]:
    return {
        jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree.leaves_with_path(tree)
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_all_parameters_go_out_and_come_back(name, tmp_path):
    first = made(name, tmp_path / "first")
    read = pretrained.load(tmp_path / "first")
    pretrained.save(read, tmp_path / "second")
    again = pretrained.load(tmp_path / "second")
    assert read.family.name == name.partition(",")[0]
    assert replaced(first.config, output_bias=read.config.output_bias) == read.config
    wanted, found, later = leaves(first.params), leaves(read.params), leaves(again.params)
    assert set(found) >= set(wanted)
    for path, array in found.items():
        np.testing.assert_allclose(later[path], array, rtol=1e-6, atol=1e-7)
        if path in wanted:
            ours = np.s_[:]
            if "embedding']['table" in path or "output" in path:
                # Of special tokens that are one of theirs one row is kept, and none of others.
                kept = [i for i in range(len(read.order.theirs)) if i not in read.order.silent]
                ours = np.s_[:, kept] if "['output']" in path else kept
            np.testing.assert_allclose(array[ours], wanted[path][ours], rtol=1e-6, atol=1e-7)


def edited(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def told(folder, **changes) -> None:
    settings = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(settings))


KERNEL = {
    "marian": "model.decoder.layers.1.encoder_attn.q_proj.weight",
    "t5": "decoder.block.1.layer.1.EncDecAttention.q.weight",
    "bergamot, ssru": "decoder_l2_rnn_Wf",
}


@pytest.mark.parametrize("name", KERNEL)
def test_a_checkpoint_that_does_not_fit_is_refused(name, tmp_path):
    made(name, tmp_path / "own")
    folder, kernel = tmp_path / "own", KERNEL[name]
    whole = load_file(folder / "model.safetensors")
    for change, said in (
        (lambda x: x.pop(kernel), "which it lacks; it has"),
        (lambda x: x.update({kernel: x[kernel][:, 1:].copy()}), "must have shape"),
        (lambda x: x.update(other=np.zeros(1, np.float32)), "nothing here reads other"),
    ):
        save_file(whole, folder / "model.safetensors")
        edited(folder, change)
        with pytest.raises(ValueError, match=said) as caught:
            pretrained.load(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("marian", {"activation_function": "laplace"}, "`activation_function` of .* must be one"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "must be one of true; got False"),
        ("marian", {"vocab_size": 14}, "must have a row for each of 14 tokens"),
        ("marian", {"pad_token_id": 99}, "The padding token must be one of the model's 13"),
        ("mbart", {"normalize_before": False}, "`normalize_before` of .* must be one of true"),
        ("t5", {"feed_forward_proj": "gated-relu"}, "`feed_forward_proj` of .* must be one"),
        ("t5", {"relative_attention_num_buckets": 16}, "must hold 3 arrays|must have shape"),
        ("bergamot", {"tied-embeddings-all": "false"}, "must be one of \"true\"; got 'false'"),
        ("bergamot", {"enc-depth": "many"}, "`enc-depth` of .* must be a whole number"),
        ("bergamot, ssru", {"dec-cell": "gru"}, '`dec-cell` of .* must be one of "ssru"'),
    ],
)
def test_a_configuration_that_is_not_known_is_refused(name, changes, said, tmp_path):
    made(name, tmp_path / "own")
    told(tmp_path / "own", **changes)
    with pytest.raises(ValueError, match=said) as caught:
        pretrained.load(tmp_path / "own")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("marian", {"norm": "pre"}, "`norm` of a model must be 'post' to be written as marian"),
        ("marian", {"attention": "alibi"}, "`attention` of a model must be 'scaled_dot'"),
        ("m2m_100", {"sinusoids": Sinusoids()}, "`sinusoids` of a model must be"),
        ("mbart", {"embedding_scale": 2.0}, "`embedding_scale` of a model must be 1.0"),
        ("t5", {"attention": "scaled_dot"}, "`attention` of a model must be 't5_bias"),
        ("bergamot", {"recurrence": Recurrence("min_gru")}, "`cell` of a model must be 'ssru'"),
    ],
)
def test_a_model_of_no_family_is_not_written(name, fields, said, tmp_path):
    own = CONFIGS[name]
    config = own._replace(decoder=own.decoder._replace(**fields))
    with pytest.raises(ValueError, match=said):
        written(name, config, seq2seq.build(config, rngs=nnx.Rngs(0)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_layers_of_t5_share_their_biases_of_distance(tmp_path):
    loaded = made("t5", tmp_path / "own")
    layer = loaded.params["encoder"]["layers"]["layers"][1]["attention"]["learned"]
    layer["table"] = layer["table"] + 1
    with pytest.raises(ValueError, match="All layers of the encoder must have the same biases"):
        pretrained.save(loaded, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_its_factors_t5_would_be_another_model(tmp_path):
    """The maps to queries of the file are ours by the root of the head's width."""
    loaded = made("t5", tmp_path / "own")
    theirs = load_file(tmp_path / "own" / "model.safetensors")
    ours = leaves(loaded.params)
    query = ours["['decoder']['layers'][0]['attention']['query']['kernel']"]
    name = "decoder.block.0.layer.0.SelfAttention.q.weight"
    np.testing.assert_allclose(theirs[name].T * 3**0.5, query, rtol=1e-6)
    gain = theirs["decoder.final_layer_norm.weight"] * 8**-0.5
    np.testing.assert_allclose(gain, ours["['decoder_norm']['scale']"], rtol=1e-6)
