"""Says what a trained run makes of your input: it translates, writes on, recognises or transcribes.

python -m experiments.predict --run=runs/spanish-transformer-scaled_dot --text="the cat sleeps"
python -m experiments.predict --run=... --file=sentences.txt --beam=5 --nbest=3 --scores
echo "the cat sleeps" | python -m experiments.predict --run=...
python -m experiments.predict --run=runs/tiny_shakespeare-transformer-scaled_dot --text="ROMEO:"
python -m experiments.predict --run=runs/digits-transformer-scaled_dot --file=picture.png --scores
python -m experiments.predict --run=runs/tones-rnn-additive --file=recording.wav --beam=5

Sentences come by --text, from a file, from standard input, or as you type them. Pictures (PNG or
JPEG) and recordings (WAV) come by --file, one or a whole folder: then each line begins with the
name of its file.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import flags

from attention_jax.decoding.translate import Hypothesis, Translator
from experiments import common, image_models, listening, perceive, texts, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_task_flags()
common.define_model_flags(image_models.MODELS)
common.define_training_flags()
common.define_search_flags()
common.define_device_flags()
texts.define_flags()
# Before those of speech, which knows that it shares one with them.
image_models.define_flags()
listening.define_flags()
for module in (common, texts, image_models, listening):
    flags.adopt_module_key_flags(module)
flags.DEFINE_string("text", None, "A sentence to translate, or a text to go on with.")
flags.DEFINE_string(
    "file", None, "A file of sentences, one a line; a picture or a recording, or a folder of them."
)
flags.DEFINE_bool(
    "scores", False, "Also print scores: of translations and transcripts in nats, of a picture the "
    "probabilities of its three most probable classes."
)  # fmt: skip

# The same for one sentence and for many, so that both get the same translation.
ROWS = 8


def main() -> None:
    """Does what the run has learned with whatever the flags point at."""
    folder = trained.run_folder()
    KINDS[trained.kind(folder, among=KINDS)](folder)


def translate(folder: Path) -> None:
    """Prints translations of the sentences that flags or standard input give."""
    translator = load_translator(folder)
    if FLAGS.text is not None:
        show(translator, [FLAGS.text])
    elif FLAGS.file is not None:
        show(translator, trained.read_lines(FLAGS.file))
    elif sys.stdin.isatty():
        converse(translator)
    else:
        show(translator, [line.rstrip("\n") for line in sys.stdin])


def load_translator(folder: Path) -> Callable[[list[str]], list[list[Hypothesis]]]:
    """The run's model behind the search that flags ask for."""
    run = trained.load(folder)
    translator = Translator(run.graphdef, run.vocabulary, common.search(), rows=ROWS)
    return lambda texts: translator(run.params, texts)


def write(folder: Path) -> None:
    """Prints the text that flags give or standard input holds, and what the model adds."""
    go_on = texts.load_run(folder)
    if FLAGS.scores or FLAGS.file is not None:
        raise ValueError("--scores and --file go with translations; give a text by --text.")
    if FLAGS.text is None and sys.stdin.isatty():
        raise ValueError("`--text` must be the text to go on with; got none.")
    print(go_on(FLAGS.text if FLAGS.text is not None else sys.stdin.read()))


def show(translate: Callable, texts: Iterable[str]) -> None:
    """Prints the translations, one a line; of an empty line an empty one."""
    texts = list(texts)
    filled = [text for text in texts if text.strip()]
    found = iter(translate(filled))
    for text in texts:
        if not text.strip():
            print()
            continue
        for hypothesis in next(found):
            print(f"{hypothesis.score:.4f}\t{hypothesis.text}" if FLAGS.scores else hypothesis.text)


def converse(translate: Callable) -> None:
    """Reads a sentence, prints its translation, until the end of input."""
    print("Type a sentence; an empty line or Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            return print(file=sys.stderr)
        if not text.strip():
            return None
        show(translate, [text])


# By the script that the run is of.
KINDS = {
    "translation": translate,
    "language": write,
    "images": perceive.recognise,
    "speech": perceive.transcribe,
}

if __name__ == "__main__":
    common.launch(main)
