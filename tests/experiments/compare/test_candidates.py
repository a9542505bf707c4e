"""Candidates: every model with every attention it can have, and what does not go together."""

import re
from contextlib import nullcontext

import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.models import image_rnn, language, seq2seq_rnn
from attention_jax.nn import patches, recurrent
from experiments.common.experiment import find
from experiments.compare.candidates import candidates
from tests.support.comparisons import comparison


def of(models, attentions, *arguments, experiment="translation"):
    """Candidates of models and attentions, as flags name them."""
    given = (f"--models={models}", f"--attentions={attentions}", *arguments)
    return candidates(comparison(*given, experiment=experiment))


def names(found):
    return [x.name for x in found]


def test_a_grid_is_every_model_with_every_attention_it_can_have():
    found, left = of("transformer,gru,lstm:none", "dot,alibi,none")
    assert names(found) == [
        "transformer-dot",
        "transformer-alibi",
        "gru-dot",
        "gru-none",
        "lstm-none",
    ]
    assert found[2].flags == {"model": "rnn", "attention": "dot", "cell": "gru"}
    assert names(left) == ["transformer-none", "gru-alibi"]
    assert "score of one query and one key" in left[1].reason


@pytest.mark.parametrize("name", ["language", "memory"])
def test_language_models_have_what_looks_back(name):
    models = "transformer,gru,gru:linear,lstm:none"
    found, left = of(models, "alibi,linformer,coverage", experiment=name)
    assert names(found) == ["transformer-alibi", "gru-alibi", "gru-linear", "lstm-none"]
    assert names(left) == [
        "transformer-linformer",
        "transformer-coverage",
        "gru-linformer",
        "gru-coverage",
    ]
    assert left[0].reason.endswith("linformer cannot look back only.")
    with pytest.raises(ValueError, match="one head. `groups` must divide `kv_heads`"):
        of("gru:grouped_query", "", experiment=name)


def test_networks_that_read_images_have_what_pools():
    found, left = of("transformer,gru,cnn", "gated,coverage,alibi,none", experiment="images")
    assert names(found) == [
        "transformer-gated",
        "transformer-coverage",
        "transformer-alibi",
        "gru-gated",
        "gru-coverage",
        "gru-none",
        "cnn-none",
    ]
    assert names(left) == [
        "transformer-none",
        "gru-alibi",
        "cnn-gated",
        "cnn-coverage",
        "cnn-alibi",
    ]
    assert "alibi does not serve between two sequences" in left[1].reason


RECURRENT = {
    "translation": lambda config: seq2seq_rnn.Seq2SeqRNN(config, rngs=nnx.Rngs(0)),
    "images": lambda config: image_rnn.ImageRNN(
        patches.ImageConfig(4, 4, 1, 2), config, rngs=nnx.Rngs(0)
    ),
    "language": lambda config: language.RNNLM(config, rngs=nnx.Rngs(0)),
}


@pytest.mark.sampled(7)
@pytest.mark.parametrize("case", variants.names())
@pytest.mark.parametrize("experiment", RECURRENT)
def test_an_rnn_is_left_out_where_it_cannot_be_built(experiment, case):
    config = recurrent.RNNConfig(vocabulary_size=8, width=4, layers=1, attention=case)
    reason = find(experiment).why_not("rnn", case)
    with pytest.raises(ValueError) if reason else nullcontext():
        nnx.eval_shape(lambda: RECURRENT[experiment](config))


def test_attentions_have_options():
    """Commas and colons inside brackets part nothing; folders are named by what may stand there."""
    found, _ = of("transformer", "sliding_window(size=4),dilated(size=8, dilation=2)")
    assert [x.flags["attention"] for x in found] == [
        "sliding_window(size=4)",
        "dilated(size=8, dilation=2)",
    ]
    assert len(set(names(found))) == 2
    assert all(re.fullmatch(r"transformer-[\w.=+-]+", name) for name in names(found))
    (alone,), _ = of("transformer:sliding_window(size=4)", "dot")
    assert alone == found[0]


OWN = (
    "from attention_jax import from_score, scores\n\n\n"
    "def mine(p: float = 2.0):\n    return from_score(lambda params: scores.dot)\n\n\n"
    "def other(p: float = 2.0):\n    return mine(p)\n"
)


def test_a_file_of_ones_own_is_an_attention_and_so_is_a_function_of_it(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    (first,), _ = of(f"gru:{file}", "")
    assert first.name == "gru-mine" and first.flags["attention"] == str(file)
    (second,), _ = of(f"gru:{file}:other(p=3.0)", "")
    assert second.flags["attention"] == f"{file}:other(p=3.0)" and second.name != first.name


def test_two_files_of_one_name_are_not_one_candidate(tmp_path):
    files = [tmp_path / folder / "mine.py" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(OWN)
    with pytest.raises(ValueError, match="must differ in name; two of them are gru-mine"):
        of("gru", f"{files[0]},{files[1]}")


def test_without_attentions_each_model_has_its_own():
    assert names(of("transformer,gru", "")[0]) == ["transformer-scaled_dot", "gru-additive"]


def test_options_are_those_of_one_kind_of_model():
    options = ("--rnn_option=width=40", "--rnn_option=tied=false", "--transformer_option=heads=2")
    found, _ = of("transformer,gru", "", *options)
    transformer, gru = (x.flags for x in found)
    assert transformer["heads"] == 2 and "width" not in transformer
    assert gru["width"] == 40 and gru["tied"] is False and "heads" not in gru


@pytest.mark.parametrize(
    ("models", "attentions", "message"),
    [
        ("elman", "", "transformer_mlstm; got 'elman'"),
        ("gru", "telepathy", "telepathy"),
        ("transformer:none", "", "got transformer:none. A Transformer is its attention."),
        ("transformer", "none", "leave nothing to compare. A Transformer is its attention."),
        ("", "dot", "leave nothing to compare"),
    ],
)
def test_what_cannot_be_compared_is_named(models, attentions, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        of(models, attentions)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("layer=1", "`--rnn_option` must be flag=value, of a flag; got 'layer=1'"),
        ("layers", "`--rnn_option` must be flag=value, of a flag; got 'layers'"),
        ("seed=1", "`--rnn_option` must be flag=value, of a flag; got 'seed=1'"),
        ("attention=dot", "`--rnn_option` must be flag=value, of a flag; got 'attention=dot'"),
        ("layers=two", "`--rnn_option=layers=two` is no value of its flag"),
        ("layers=0", "`--rnn_option=layers=0` is no value of its flag"),
    ],
)
def test_an_option_is_a_flag_with_a_value_of_it(option, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        of("gru", "", f"--rnn_option={option}")
