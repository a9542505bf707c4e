"""Configuration of a server, and its limits."""

from typing import Annotated, NamedTuple

from experiments.common.config import DecodingFlags, DeviceFlags
from experiments.common.flags import Flag

_COUNT = Flag(low=1)


class LimitFlags(NamedTuple):
    """Limits; a request beyond them is refused.

    Attributes:
      most_characters: characters of a text.
      most_tokens: tokens of a text.
      most_texts: texts of a request.
      most_bytes: bytes of a request's body.
      most_beam: size of a beam that a request asks for.
      most_written: tokens that are written after a prompt.
      most_waiting: texts that wait or are in work; beyond them requests are sent away for a while.
      request_seconds: seconds a request; then it is given up, and texts of it that still wait are
        dropped.
    """

    most_characters: Annotated[int, _COUNT] = 2000
    most_tokens: Annotated[int, _COUNT] = 128
    most_texts: Annotated[int, _COUNT] = 32
    most_bytes: Annotated[int, _COUNT] = 1_000_000
    most_beam: Annotated[int, _COUNT] = 8
    most_written: Annotated[int, _COUNT] = 512
    most_waiting: Annotated[int, _COUNT] = 256
    request_seconds: Annotated[float, Flag(low=0.1)] = 30.0


class BatchFlags(NamedTuple):
    """Batches, formed of the texts that wait.

    Attributes:
      rows: texts a batch; every batch has as many rows, so that no answer depends on how many
        share it.
      batch_wait_ms: milliseconds that a text waits for others of its length, where the model is
        free.
      warm_up: tokens of the longest text whose programs are compiled before the server is ready; 0
        for none. Those of longer ones are compiled when one comes.
    """

    rows: Annotated[int, _COUNT] = 8
    batch_wait_ms: Annotated[float, Flag(low=0.0)] = 5.0
    warm_up: Annotated[int, Flag(low=0)] = 32


class ServeConfig(NamedTuple):
    """A call of experiments.serve.

    Attributes:
      run: folder of the run, of experiments.translation or experiments.language.
      pretrained: a model of another library, instead of a run: a folder with config.json and
        safetensors, a .gguf file, or an installed package that carries one.
      host: address to listen at; others than this machine's own let others in.
      port: port to listen at; 0 for any that is free.
      log: print a line for each request, on standard error.
    """

    run: str | None = None
    pretrained: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Flag(low=0, high=65535)] = 8000
    log: bool = False
    limits: LimitFlags = LimitFlags()
    batches: BatchFlags = BatchFlags()
    decoding: DecodingFlags = DecodingFlags()
    device: DeviceFlags = DeviceFlags()


def check(config: ServeConfig) -> None:
    """Refuses settings that contradict each other.

    Raises:
      ValueError: they do.
    """
    limits = config.limits
    if limits.most_texts > limits.most_waiting:
        raise ValueError(
            "`--most_waiting` must hold the texts of a request; got "
            f"--most_waiting={limits.most_waiting} for --most_texts={limits.most_texts}. Raise it."
        )
    if config.decoding.nbest != DecodingFlags().nbest:
        raise ValueError(
            "`--nbest` does not go with a server, which answers with the best; leave it out."
        )
