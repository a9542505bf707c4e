"""Values for flags, drawn by each flag's own type: valid ones, borderline ones and absurd ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from attention_jax import variants
from experiments.common.flags import Field

# Numbers, and what is none.
NUMBERS = (
    "0 1 2 3 4 5 8 -1 +2 2147483647 2147483648 4294967296 9223372036854775808 "
    f"{10**20} -{10**20}".split(),
    ["1.5", "1e3", "nan", "inf", "-inf", "\u0663", "\u00bd", "one", "1,2", "--", "", " 2 ", "0x10"],
)
REALS = (
    f"0 0.0 -0.0 0.1 0.5 0.9 0.99 1 1.0 1.5 2 -0.1 1e-320 1e-40 1e38 1e39 1e308 {10**20}".split(),
    ["nan", "inf", "-inf", "1e400", "\u0663", "\u00bd", "half", "0,5", ""],
)
BOOLEANS = (("true", "false", "1", "0"), ("yes", "", "maybe", "2", "\u0663"))
GOOD = 0.85  # of values are of the flag's type
TEXTS = (
    "a b c",
    "",
    " ",
    "x",
    "\u6587\u5b57",
    "\u202eabc",
    "e\u0301",
    "\U0001f600",
    "a" * 300,
    "a\tb",
    "a\nb",
    "nan",
    "0",
    "-1",
    str(10**20),
    "None",
    "--",
    "${HOME}",
    "a,b",
    "%s %d {}",
    "'\"`$(x)",
    "\udcff",
)
OPTIONS = (
    "vocabulary=8",
    "train_size=12",
    "train_size=0",
    "train_size=-1",
    f"vocabulary={10**20}",
    "vocabulary=0",
    "vocabulary=1",
    "vocabulary=nan",
    "max_length=0",
    "max_length=3",
    "test_size=0",
    "validation_size=0",
    "longer_length=1",
    "x=1",
    "novalue",
    "=3",
    "=",
    "",
    "vocabulary=",
    "vocabulary=8=9",
    "\u6587=1",
    "data_dir=",
    "most_words=0",
    "most_words=2",
    "train_size=1",
    "seed=-1",
    "gap=2",
    "noise=nan",
    "noise=-1",
    "noise=inf",
    "least_words=9",
)
CANDIDATE_OPTIONS = (
    "width=8",
    "width=0",
    "layers=2",
    "layers=nan",
    "seed=1",
    "foo=1",
    "width",
    "=",
    "",
    "steps=2",
    "kv_heads=3",
    "heads=3",
    "bidirectional=false",
    "scan=true",
    "scan=maybe",
    "run=x",
    "dropout=2",
    f"feed_forward={10**20}",
    "attention=alibi",
    "flagfile=x",
    "learning_rate=nan",
)
LISTS = (
    "",
    ",",
    "1",
    "2,4",
    "8,16",
    "16,8",
    "4,4",
    "0",
    "-1",
    "nan",
    "1.5",
    f"{10**20}",
    "a,b",
    "8,",
    "\u0663",
    "0.1,0.01",
    "inf",
    "2147483648",
)
ATTENTIONS = (
    "",
    "none",
    "scaled_dot",
    "aditive",
    "ALIBI",
    "sliding_window(size=2)",
    "sliding_window(size=0)",
    "sliding_window(size=-1)",
    f"sliding_window(size={10**20})",
    "sliding_window(size=nan)",
    "sliding_window(size='a')",
    "sliding_window(size=1.5)",
    "sliding_window(3)",
    "sliding_window(",
    "sliding_window)",
    "sliding_window()",
    "alibi(x=1)",
    "alibi(heads=2)",
    "alibi()()",
    "alibi(__import__('os'))",
    "\u6587",
    ".",
    "/",
    "os",
    "_builders",
    "scaled_dot,alibi",
    "scaled_dot(scale=0)",
    "scaled_dot(scale=inf)",
    "additive(width=0)",
    "axial(width=0)",
    "axial(width=4, along='row')",
    "axial(width=4, along='z')",
    "a" * 300,
)
MODELS = (
    "transformer",
    "gru",
    "lstm",
    "transformer,gru",
    "transformer,transformer",
    "",
    ",",
    "cnn",
    "gru:none",
    "gru:additive",
    "gru:",
    ":gru",
    "transformer:none",
    "transformer:alibi",
    "foo",
    "transformer:foo",
    "gru:scaled_dot(",
    "\u6587",
    "lstm:coverage",
)
SCORES = ("exact_match", "bleu", "wer", "accuracy", "loss", "", "foo", "\u6587")
PATHS = frozenset(
    "run other_run init_from file pairs text_file data_dir data sounds folder output".split()
    + ["compile_cache"]
)
PATTERNS = (
    "kernel",
    "bias$",
    "embedding",
    "(query|value)/kernel",
    "^x",
    "",
    ".",
    "(",
    "a{2,1}",
    "\u6587",
)
ATTENTION_FLAGS = ("attention", "cross_attention", "attentions", "attention_file")
# What is drawn for flags that hold text, by their names; texts and paths for all others.
OF_NAMES: Mapping[str, Sequence[str]] = {
    "task_option": OPTIONS,
    "sound_option": OPTIONS,
    "transformer_option": CANDIDATE_OPTIONS,
    "rnn_option": CANDIDATE_OPTIONS,
    "cnn_option": CANDIDATE_OPTIONS,
    "models": MODELS,
    "score": SCORES,
    "preset": ("multi30k_de_en", "tatoeba_en_es", "tiny_shakespeare", "foo", ""),
    "fields": ("1,2", "2,1", "0,1", "1", "a,b", "en,de", "", ",", "1,2,3", "1,1", "-1,2"),
    "ray_address": ("",),
    "freeze": PATTERNS,
    "lora_targets": PATTERNS,
}
JUNK = (
    "--widht=3",
    "--=3",
    "--",
    "word",
    "--width",
    "---x",
    "--no-such",
    "-",
    "--nowidth",
    "\u6587",
)
JUNK += ("--flagfile=missing.flags", "--undefok=width", "--layers", "--run", "-h3", "--noscan=1")


def argument(field: Field, draw: np.random.Generator, paths: Sequence[str]) -> str:
    """A flag with a value, which may be anything that can be typed.

    Args:
      field: the flag; its alias and the names that the field has for it are used too.
      paths: of files, folders and links, good and bad, and of none.
    """
    names = (*field.names, *field.rules.also)
    name = names[0] if draw.random() < 0.8 else str(draw.choice(names))
    if field.kind is bool and draw.random() < 0.6:
        return f"--{'no' if draw.random() < 0.4 else ''}{name}"
    return f"--{name}={value(field, draw, paths)}"


def value(field: Field, draw: np.random.Generator, paths: Sequence[str]) -> str:
    """A value of a flag's type, or of none."""
    pool = _pool(field, draw, paths)
    return pool[draw.integers(len(pool))]


def _pool(field: Field, draw: np.random.Generator, paths: Sequence[str]) -> Sequence[str]:
    name, kind, rules, bad = field.name, field.kind, field.rules, draw.random() > GOOD
    if rules.choices:
        return (*TEXTS, rules.choices[0].upper()) if bad else tuple(rules.choices)
    if kind is bool:
        return BOOLEANS[bad]
    if kind in (int, float):
        near = [] if bad or draw.random() < 0.6 else _near(rules.low, rules.high)
        return near or (NUMBERS if kind is int else REALS)[bad]
    if name in ATTENTION_FLAGS:
        files = tuple(path for path in paths if path.endswith(".py"))
        return variants.names() if draw.random() < 0.4 else (*ATTENTIONS, *files)
    if name in OF_NAMES:
        return OF_NAMES[name]
    if name in PATHS:
        return paths
    return LISTS if kind is tuple and rules.listed else TEXTS


def _near(low: float | None, high: float | None) -> list[str]:
    """Numbers at the ends of a range, and just beyond."""
    ends = [(low, -1), (high, 1)]
    return [str(end + step) for end, out in ends if end is not None for step in (0, out, -out)]
