"""Trains a classifier of images: a Vision Transformer, an RNN, or a small CNN.

    python -m experiments.images
    python -m experiments.images --model=rnn --attention=additive --reads=rows
    python -m experiments.images --flagfile=experiments/presets/fashion_vit.flags
    python -m experiments.images --data=my_pictures --image_size=32 --model=cnn --width=64

The first learns the digits that scikit-learn brings; my_pictures holds <label>/<file>.png. A run's
folder is that of experiments.translation, with pictures.json (classes and sizes), attention.png
(where the model looks at a few test images, and which patches decided), heads_1.png and so on.
Killed, it goes on by --resume.
"""

from experiments.common.train import launch
from experiments.images import EXPERIMENT

if __name__ == "__main__":
    launch(EXPERIMENT)
