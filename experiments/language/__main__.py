"""Trains a language model on the characters of a text, and lets it write.

    python -m experiments.language --flagfile=experiments/presets/tiny_shakespeare.flags
    python -m experiments.language --text_file=my.txt --attention=gated_delta --positions=none
    python -m experiments.language --text_file=my.txt --model=rnn --attention=none

The first nine tenths of the text are learned, the last is for validation: all of it, in windows
side by side. A run's folder is that of experiments.translation, with what the model wrote in
samples.txt; `experiments.predict --run=... --text=...` goes on with a text. Killed, it goes on by
--resume.
"""

from experiments.common.train import launch
from experiments.language import EXPERIMENT

if __name__ == "__main__":
    launch(EXPERIMENT)
