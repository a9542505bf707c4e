"""Uses a trained run: it translates, writes on, classifies or transcribes.

python -m experiments.predict --run=runs/spanish-transformer-scaled_dot --text="the queen sleeps."
python -m experiments.predict --run=... --file=sentences.txt --beam=5 --nbest=3 --scores
python -m experiments.predict --run=runs/first,runs/second --text="the queen sleeps."
echo "the queen sleeps." | python -m experiments.predict --run=...
python -m experiments.predict --run=runs/tiny_shakespeare-transformer-scaled_dot --text="ROMEO:"
python -m experiments.predict --run=runs/digits-transformer-scaled_dot --file=picture.png --scores
python -m experiments.predict --run=runs/tones-rnn-additive --file=recording.wav --beam=5
python -m experiments.predict --pretrained=opus-mt-en-de --text="The queen sleeps." --beam=4
python -m experiments.predict --pretrained=whisper-tiny --file=recording.wav
python -m experiments.predict --pretrained=all-MiniLM-L6-v2 --file=sentences.txt

Sentences come by --text, from a file, from standard input, or as you type them. Images (PNG or
JPEG) and recordings (WAV or FLAC) come by --file, one or a whole folder: then each line begins with
the name of its file. Flags of the run itself, such as --seed or --data_dir, may be given too.
"""

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from attention_jax.core.files import whole
from experiments.common import flags, places, streams
from experiments.common.config import DecodingFlags, DeviceFlags
from experiments.common.ensembles import load_runs
from experiments.common.experiment import PredictFlags
from experiments.common.pretrained_runs import load_pretrained, one_source


class PredictConfig(NamedTuple):
    """A call of experiments.predict.

    Attributes:
      run: folder of the run; several runs of translation with one vocabulary, separated by commas,
        translate as one, by the average of their probabilities.
      pretrained: a model of another library, instead of a run: a folder with config.json and
        safetensors, or a .gguf file.
    """

    run: str | None = None
    pretrained: str | None = None
    inputs: PredictFlags = PredictFlags()
    decoding: DecodingFlags = DecodingFlags()
    device: DeviceFlags = DeviceFlags()


def main(arguments: Sequence[str]) -> None:
    """Prints what the run makes of the inputs."""
    own = flags.config_from_flags(PredictConfig())
    if own.inputs.output is not None:
        places.file("output", own.inputs.output)
    one_source(own.run, own.pretrained)
    beside = (PredictConfig(),)
    if own.pretrained is None:
        run = load_runs(own.run, arguments, beside=beside)
    else:
        run = load_pretrained(own.pretrained, arguments, member="predict", beside=beside)
    assert run.experiment.predict is not None  # or `load_runs` refuses
    with _written_to(own.inputs.output) as put:
        for line in run.experiment.predict(run, own.inputs):
            put(line)
            if not streams.is_read(sys.stdout):
                break


@contextlib.contextmanager
def _written_to(output: str | None) -> Generator[Callable[[str], None], None, None]:
    """A function that takes lines: to a file, which appears whole at the end, or to be printed."""
    if output is None:
        yield lambda line: print(line, flush=True)
        return
    with whole(output) as file:

        def put(line: str) -> None:
            file.write(f"{line}\n".encode())
            file.flush()

        yield put


if __name__ == "__main__":
    flags.launch(main, PredictConfig(), more=True)
