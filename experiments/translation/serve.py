"""A run of translation as `experiments.serve` serves it."""

from collections.abc import Hashable, Sequence

import numpy as np

from attention_jax.analysis import attention_maps
from attention_jax.data.batching import rounded_up
from attention_jax.data.types import EOS
from attention_jax.decoding.translate import Translator
from experiments.common.experiment import Run
from experiments.common.served import Attention, Pair, repeated_token
from experiments.translation import page


class ServedTranslation:
    """Translations and attention of a run; see `served.Served`.

    Every batch has `rows` rows, however few texts there are: products of other sizes would sum in
    another order, and a text's translation would depend on how many share its batch.

    Args:
      run: the run; its decoding flags are the search.
      rows: texts that share a batch.
    """

    def __init__(self, run: Run, rows: int):
        self.rows, self.about = rows, page.about(run)
        self._run, self._model, self._decoding = run, run.model, run.config.decoding
        self.takes = frozenset() if self._decoding.sample else frozenset({"beam"})
        self._translators: dict[int, Translator] = {}

    def length(self, text: str) -> int:
        """Tokens of a text; what was never seen in training is one too."""
        return len(self._run.tokenizer.encode(text))

    def bucket(self, text: str) -> Hashable:
        """The padded length, as `Translator` has it."""
        return rounded_up(self.length(text) + 1)

    def translate(self, texts: Sequence[str], beam: int | None) -> list[str]:
        """The best translation of each text."""
        beam = self._decoding.beam if beam is None else beam
        if beam not in self._translators:
            self._translators[beam] = self._translator(beam)
        found = self._translators[beam](self._run.params, texts)
        return [best.text for best, *_ in found]

    def attention(self, pair: Pair) -> Attention:
        """The weights of all layers and heads."""
        vocabulary = self._run.tokenizer
        text = self.translate([pair.source], None)[0] if pair.target is None else pair.target
        source, target = vocabulary.encode(pair.source), [*vocabulary.encode_target(text), EOS]
        maps = attention_maps.sentence(self._model, source, target)
        labels = [vocabulary.tokens(ids) for ids in ([*source, EOS], target)]
        return Attention(text, *labels, {name: _weights(own) for name, own in maps.items()})

    def example(self, tokens: int) -> str:
        """A text that repeats one token."""
        return repeated_token(self._run.tokenizer, tokens)

    def _translator(self, beam: int) -> Translator:
        search = self._decoding._replace(beam=beam, nbest=1).search(self._run.config.run.seed)
        own = self._run
        return Translator(
            own.graphdef, own.tokenizer, search, rows=self.rows, fewest_rows=self.rows
        )


def _weights(found: attention_maps.Map) -> np.ndarray:
    """The weights, NaN where they mean nothing."""
    return np.where(found.is_exact[..., None, None], found.weights, np.nan)
