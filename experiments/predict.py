"""Translates by a trained run, or writes on: a text, a file, standard input, or what you type.

python -m experiments.predict --run=runs/spanish-transformer-scaled_dot --text="the cat sleeps"
python -m experiments.predict --run=... --file=sentences.txt --beam=5 --nbest=3 --scores
echo "the cat sleeps" | python -m experiments.predict --run=...
python -m experiments.predict --run=runs/tiny_shakespeare-transformer-scaled_dot --text="ROMEO:"
"""

import sys
from collections.abc import Callable, Iterable

from absl import flags

from attention_jax import evaluation
from experiments import common, texts, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_task_flags()
common.define_model_flags()
common.define_training_flags()
common.define_search_flags()
common.define_device_flags()
texts.define_flags()
flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(texts)
flags.DEFINE_string("text", None, "A sentence to translate, or a text to go on with.")
flags.DEFINE_string("file", None, "A file of sentences, one a line.")
flags.DEFINE_bool("scores", False, "Also print the score of each translation, in nats.")

# The same for one sentence and for many, so that both get the same translation.
ROWS = 8


def main() -> None:
    """Translates whatever the flags point at."""
    kind, folder = trained.kind(trained.run_folder()), trained.run_folder()
    if kind == "language":
        write(texts.load_run(folder))
        return
    if kind != "translation":
        raise ValueError(
            "`--run` must be of experiments.translation or experiments.language; "
            f"{folder} is of experiments.{kind}."
        )
    translate = load_translator()
    if FLAGS.text is not None:
        show(translate, [FLAGS.text])
    elif FLAGS.file is not None:
        show(translate, trained.read_lines(FLAGS.file))
    elif sys.stdin.isatty():
        converse(translate)
    else:
        show(translate, [line.rstrip("\n") for line in sys.stdin])


def load_translator() -> Callable[[list[str]], list[list[evaluation.Hypothesis]]]:
    """The run's model behind the search that flags ask for."""
    run = trained.load(trained.run_folder())
    translator = evaluation.Translator(run.graphdef, run.vocabulary, common.search(), rows=ROWS)
    return lambda texts: translator(run.params, texts)


def write(go_on: Callable[[str], str]) -> None:
    """Prints the text that flags give or standard input holds, and what the model adds."""
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


if __name__ == "__main__":
    common.launch(main)
