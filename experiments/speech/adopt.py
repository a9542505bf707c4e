"""Whisper, as a run of experiments.speech."""

from collections.abc import Callable, Sequence

from attention_jax import variants
from attention_jax.core.wording import said
from attention_jax.decoding.batched import DecodingConfig
from attention_jax.decoding.whisper import Asked, Sizes, WhisperTranscriber
from attention_jax.pretrained.loading import Pretrained
from experiments.common import flags
from experiments.common.experiment import Run
from experiments.common.pages import described
from experiments.common.pretrained_runs import with_tokenizer

GENERATION = "generation_config.json"


def adopt(loaded: Pretrained, run: Run) -> Run:
    """The run of a model, which hears any rate of recordings."""
    return with_tokenizer(loaded, run._replace(config=flags.replace(run.config, resample=True)))


def about(run: Run) -> str:
    """The model in a few words."""
    config = _loaded(run).config
    return f"{described('transformer', variants.label(config.transformer.attention))}, whisper"


def transcriber(
    run: Run,
    search: DecodingConfig,
    *,
    language: str | None = None,
    translate: bool = False,
    rows: int,
) -> WhisperTranscriber:
    """A transcriber by the model of a run.

    Args:
      language: that is spoken; None for what the model hears.
      translate: writes English.

    Raises:
      ValueError: the model does not know the language, or does not translate.
    """
    loaded = _loaded(run)
    config, own = loaded.config, asked(loaded, translate=translate)
    sizes = Sizes(config.features, config.positions, config.transformer.max_length)
    if language is not None and language not in own.languages:
        known = ", ".join(sorted(own.languages)) or "left out: the model is told no language"
        raise ValueError(f"`--language` must be {known}; got {language!r}. Use one of these.")
    return WhisperTranscriber(
        run.graphdef, run.tokenizer, sizes, own, search, language=language, rows=rows
    )


def asked(loaded: Pretrained, *, translate: bool = False) -> Asked:
    """The tokens by which a model is asked, as its generation_config.json or config.json says.

    Raises:
      ValueError: a token is none of the model's, or the model does not translate.
    """
    told = loaded.settings | dict(loaded.beside.get(GENERATION, {}))
    languages = {name.strip("<|>"): token for name, token in (told.get("lang_to_id") or {}).items()}
    if languages:
        task = (told.get("task_to_id") or {}).get("translate" if translate else "transcribe")
        rest = [task, told.get("no_timestamps_token_id")]
    else:
        task = None
        rest = [token for _, token in sorted(told.get("forced_decoder_ids") or ())]
        rest = rest or [told.get("no_timestamps_token_id")]
    if translate and task is None:
        raise ValueError(
            "`--translate` goes with models of many languages, which name a token for it; this one "
            "names none. Leave it out."
        )
    own = _ours(loaded)
    return Asked(
        dict(zip(languages, own(list(languages.values())), strict=True)),
        own([token for token in rest if token is not None]),
        own(told.get("suppress_tokens") or ()),
        own(told.get("begin_suppress_tokens") or ()),
    )


def _ours(loaded: Pretrained) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """The function that tells our tokens of theirs; padding and the begin are never written."""
    order = loaded.order
    assert order is not None  # whatever writes has tokens
    ids = {theirs: i for i, theirs in enumerate(order.theirs) if i not in order.silent}

    def ours(tokens: Sequence[int]) -> tuple[int, ...]:
        for token in tokens:
            if token not in order.theirs:
                raise ValueError(
                    f"{GENERATION} must name tokens of the model, which has {order.size}; it names "
                    f"{said(token)}. The two files are not a pair."
                )
        return tuple(dict.fromkeys(ids[token] for token in tokens if token in ids))

    return ours


def _loaded(run: Run) -> Pretrained:
    assert run.pretrained is not None  # or nobody asks
    return run.pretrained
