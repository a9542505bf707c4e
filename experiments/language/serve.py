"""A run of a language model as `experiments.serve` serves it."""

from collections.abc import Hashable, Sequence

from attention_jax.decoding.generate import Draw, rounded
from experiments.common.experiment import Run
from experiments.common.pages import described
from experiments.common.served import Prompt, repeated_token
from experiments.language.config import writer

_SHOWN = 40  # characters of a prompt in an error


class ServedLanguage:
    """Texts that a run goes on with; see `served.Served`.

    Args:
      run: the run; its decoding flags say how tokens are drawn.
      rows: texts that are written at once.
    """

    def __init__(self, run: Run, rows: int):
        self.rows, self.about = rows, described(*run.experiment.named(run.config))
        self.written = run.config.data.characters
        self._run, self._write = run, writer(run.config, run.tokenizer, run.graphdef)
        samples = self._write.config.method == "sample"
        self.takes = frozenset({"temperature", "seed"} if samples else ())

    def length(self, text: str) -> int:
        """Tokens of a prompt.

        Raises:
          ValueError: it is empty, or holds what the model never read.
        """
        unknown, ids = self._run.tokenizer.unknown(text), self._run.tokenizer.encode(text)
        if unknown or not ids:
            never = f", with {unknown[0]!r}. Leave it out." if unknown else ". Write a beginning."
            raise ValueError(
                "`prompts` must be text of the characters that the model was trained on; got "
                f"{text[:_SHOWN]!r}{never}"
            )
        return len(ids)

    def bucket(self, text: str) -> Hashable:
        """The number of tokens that are read first, rounded as `TextGenerator` has it."""
        context = self._write.context
        most = max(1, context // 2) if context else None
        return rounded(min(self.length(text), most or self.length(text)))

    def generate(self, prompts: Sequence[Prompt], tokens: int) -> list[str]:
        """Each prompt and so many tokens more."""
        seed, temperature = self._run.config.run.seed, self._write.config.temperature
        draws = [
            Draw(
                seed if prompt.seed is None else prompt.seed,
                temperature if prompt.temperature is None else prompt.temperature,
            )
            for prompt in prompts
        ]
        texts = [prompt.text for prompt in prompts]
        return self._write.several(self._run.params, texts, tokens, draws=draws, rows=self.rows)

    def example(self, tokens: int) -> str:
        """A text that repeats one token."""
        return repeated_token(self._run.tokenizer, tokens)
