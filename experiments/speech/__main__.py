"""Trains a model to write down what it hears, and scores it on recordings it never heard.

    python -m experiments.speech                                       # tones that spell words
    python -m experiments.speech --flagfile=experiments/presets/fsdd_joined_transformer.flags
    python -m experiments.speech --model=rnn --attention=location_aware      # listen, attend, spell
    python -m experiments.speech --sounds=my_recordings --rate=16000 --loss=ctc --skip_bad

A run's folder is that of experiments.translation, with transcripts.json, and alignment_1.png and so
on: where the model listens, under the spectrogram. Killed, it goes on by --resume.
"""

from experiments.common.train import launch
from experiments.speech import EXPERIMENT

if __name__ == "__main__":
    launch(EXPERIMENT)
