"""Batched translation of sentences."""

from collections.abc import Sequence

from flax import nnx

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.batching import pad, rounded_up
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.batched import BatchedDecoder, DecodingConfig, Hypothesis, in_batches
from attention_jax.decoding.shrinking import fitting


class Translator:
    """Translates sentences; compiled once for each padded length and number of rows.

    A sentence is padded to a length of `data.batching.rounded_up`, and its translation has up to
    twice that length plus 16. A batch has a power of two of rows, from `fewest_rows` to `rows`, and
    shrinks as sentences end. A translation does not depend on the other sentences of the call, but
    for rounding.

    Args:
      graphdef: graph of the model, a `nn.protocols.Seq2Seq`.
      tokenizer: tokenizer of source and target.
      config: the search; greedy by default.
      rows: largest number of sentences in a batch.
      fewest_rows: smallest number of rows. With more of them a few sentences take longer, and
        fewer programs are compiled, which pays where each runs a few times.

    Raises:
      ValueError: an unknown search method, or `fewest_rows` is above `rows`.
    """

    @typed_calls
    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        config: DecodingConfig | None = None,
        *,
        rows: int = 64,
        fewest_rows: int = 1,
    ):
        checks.positive("rows", rows)
        checks.positive("fewest_rows", fewest_rows)
        checks.at_most("fewest_rows", fewest_rows, "rows", rows)
        self.graphdef, self.tokenizer, self.rows = graphdef, tokenizer, rows
        self.fewest_rows = fewest_rows
        self.config = DecodingConfig() if config is None else config
        self._decode = BatchedDecoder(graphdef, tokenizer, self.config, fewest_rows=fewest_rows)

    def __call__(self, params: Params, sources: Sequence[str]) -> list[list[Hypothesis]]:
        """The `nbest` hypotheses of each source, best first."""
        encoded = [(source, self.tokenizer.encode(source)) for source in sources]
        lengths = [_padded(ids) for _, ids in encoded]

        def translate(group: list[tuple[str, list[int]]], length: int) -> list[list[Hypothesis]]:
            rows = fitting(max(len(group), self.fewest_rows), self.rows)
            batch = pad([(ids, ()) for _, ids in group], rows=rows, length=length)
            names = [source for source, _ in group]
            return self._decode(params, batch, names, max_length=2 * length + 16)

        return in_batches(encoded, lengths, translate, rows=self.rows)


def _padded(ids: Sequence[int]) -> int:
    """Length of a source with EOS, rounded up."""
    return rounded_up(len(ids) + 1)
