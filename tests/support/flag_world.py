"""A folder of small data, good and bad, and of runs that were never trained, for `flag_fuzz`."""

import gzip
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from PIL import Image

from attention_jax.data.audio import wav
from experiments.common import experiment, flags, run_folder
from experiments.common.load_run import save_params

OWN = "from attention_jax import from_score\n\ndef mine(p=1):\n    return from_score({})\n"
FILES = {
    "pairs.tsv": "".join(f"a b c{i}\tc{i} b a\n" for i in range(60)),
    "pairs.csv": "en,de\n" + "".join(f"a b c{i},c{i} b a\n" for i in range(60)),
    "pairs.jsonl": "".join(f'{{"en": "a {i}", "de": "{i} a"}}\n' for i in range(60)),
    "one.tsv": "a\tb\n",
    "three.tsv": "a\tb\tc\td\n" * 20,
    "blank.tsv": "\t\n" * 20,
    "sentences.txt": "a b\n\nc\n",
    "text.txt": "the cat sees the dog. " * 40,
    "short.txt": "ab",
    "empty.txt": "",
    "caf\u00e9 \u6587.tsv": "".join(f"\u6587 {i}\t{i} \u00e9\n" for i in range(60)),
    "mine.py": OWN.format("lambda params: lambda q, k: -(abs(q - k) ** p).sum()"),
    "shape.py": OWN.format("lambda params: lambda q, k: q"),
    "fails.py": OWN.format("lambda params: lambda q, k: undefined"),
    "syntax.py": "def mine(:\n",
    "raises.py": "raise RuntimeError('no\\nway')\n",
    "exits.py": "import sys\nsys.exit(3)\n",
    "nothing.py": "",
    "number.py": "mine = 3\n",
    "broken.json": "{",
    "good.flags": "--width=8\n--layers=1\n",
    "bad.flags": "--widht=8\n",
}
BASE = "--width=8 --heads=2 --layers=1 --feed_forward=8 --steps=1 --evaluate_sentences=2".split()
SIZES = {
    "translation": (
        "--task=reverse --task_option=vocabulary=8 --task_option=train_size=16 "
        "--task_option=validation_size=4 --task_option=test_size=4 --task_option=max_length=4 "
        "--task_option=longer_length=6 --max_length=8 --tokens_per_batch=64"
    ),
    "language": "--text_file=WORLD/text.txt --context=8 --windows=2 --characters=4 --nosample",
    "images": "--data=WORLD/pictures --images_per_batch=2",
    "speech": "--sounds=WORLD/sounds --frames_per_batch=400 --buckets=1 --mels=8",
    "memory": (
        "--length=8 --rows=2 --vocabulary=16 --pairs=2 --test_rows=2 --test_lengths=8 --symbols=2"
    ),
}
# Other data of the same experiments.
OTHERS = {
    "translation": "--task=parallel --pairs=WORLD/pairs.tsv --max_length=8 --tokens_per_batch=64",
    "images": "--data=digits --images_per_batch=2",
    "speech": (
        "--sound_option=train_size=4 --sound_option=validation_size=2 --sound_option=test_size=2 "
        "--sound_option=most_words=1 --frames_per_batch=400 --buckets=1 --mels=8"
    ),
}
RUNS = {
    "translation": ("translation", ()),
    "recurrent": ("translation", ("--model=rnn",)),
    "language": ("language", ()),
    "images": ("images", ()),
    "speech": ("speech", ()),
    "aligned": ("speech", ("--loss=ctc",)),
    "memory": ("memory", ()),
}


class World:
    """The folder; `paths` are those of its files and more, `out` is where runs are to be.

    Args:
      folder: a new one.
      runs: some of `RUNS`, which are made.
    """

    def __init__(self, folder: Path, runs: Collection[str] = tuple(RUNS)):
        self.folder, self.out = folder, folder / "out"
        self.out.mkdir(parents=True)
        for name, text in FILES.items():
            (folder / name).write_text(text, encoding="utf-8")
        self._bad_files()
        self._pictures(), self._sounds()
        for name in runs:
            of, more = RUNS[name]
            untrained(of, [*self.sizes(of), *more, f"--run={folder}/runs/{name}"])
        (folder / "runs/half").mkdir(parents=True)
        (folder / "runs/half/run.flags").write_text("--width=8\n")

    def sizes(self, name: str, other: bool = False) -> list[str]:
        """Arguments that make a run of an experiment tiny, on data of the folder or others."""
        text = (OTHERS if other and name in OTHERS else SIZES)[name]
        text = text.replace("WORLD", str(self.folder))
        base = [x for x in BASE if name in ("translation", "speech") or "sentences" not in x]
        return [*base, *text.split()]

    @property
    def paths(self) -> tuple[str, ...]:
        """Of files, folders and links, good and bad, and of none."""
        inside = sorted(path for path in self.folder.iterdir() if path != self.out)
        runs = [self.folder / "runs" / name for name in (*RUNS, "half")]
        found = [str(path) for path in (*inside, *runs, self.out / "new", self.out / "a" / "b")]
        corpus = [f"{self.folder}/pairs", f"{self.folder}/mine.py:mine(p=2)"]
        corpus += [f"{self.folder}/mine.py:{x}" for x in ("other", "mine(p='a')", "mine(", "")]
        odd = ["", " ", ".", "/", "~/x", "/dev/null", "/dev/full", "/proc/self/mem", "\u6587"]
        odd += [f"{self.folder}/text.txt/x", f"{self.folder}/text.txt/", f"{self.out}/{'a' * 300}"]
        return (*found, *corpus, *odd, f"{self.folder}/missing", f"{self.out}/a\nb", "\udcff")

    def _bad_files(self) -> None:
        folder = self.folder
        (folder / "latin1.tsv").write_bytes("\u00e9 a\tb\n".encode("latin1") * 20)
        (folder / "utf16.txt").write_bytes("a b c\n".encode("utf-16") * 20)
        (folder / "noise.bin").write_bytes(bytes(range(256)) * 4)
        (folder / "bomb.tsv.gz").write_bytes(gzip.compress(b"a\tb\n" * 40)[:-9])
        (folder / "good.tsv.gz").write_bytes(gzip.compress(FILES["pairs.tsv"].encode()))
        (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9))
        (folder / "bad.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
        (folder / "emptyfolder").mkdir()
        for link, target in {
            "link.tsv": "pairs.tsv",
            "linkfolder": "emptyfolder",
            "dangling": "nowhere",
            "loop": "loop",
            "linkrun": "runs/translation",
        }.items():
            os.symlink(folder / target, folder / link)

    def _pictures(self) -> None:
        draw = np.random.default_rng(0)
        for label in ("cat", "dog"):
            (self.folder / "pictures" / label).mkdir(parents=True)
            for i in range(10):
                image = Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8).astype(np.uint8))
                image.save(self.folder / "pictures" / label / f"{i}.png")

    def _sounds(self) -> None:
        draw, folder = np.random.default_rng(0), self.folder / "sounds"
        folder.mkdir()
        for i in range(12):
            samples = draw.normal(size=2400).astype(np.float32) * 0.1
            (folder / f"{i}.wav").write_bytes(wav.write(samples, rate=8000))
            (folder / f"{i}.txt").write_text(["ab", "ba", "aab"][i % 3])


def untrained(name: str, arguments: list[str], *, scale: float = 1.0) -> None:
    """The folder of a run with the parameters that training begins with.

    Args:
      scale: of the parameters; larger ones make answers depend more on what is read.
    """
    own = experiment.find(name)
    config: Any = flags.parse(own.config, arguments)[0]
    folder = Path(config.run.run)
    data = own.load(config)
    known = own.learn(config, data, None)
    record = run_folder.new_record(own, own.hashes(data))
    run_folder.accept(own, config, known, folder, record)
    build = own.build(config, known)
    params = jax.jit(lambda: nnx.as_pure(nnx.split(build(jax.random.key(0)))[1]))()
    params = jax.tree.map(lambda x: scale * x, params)
    save_params(folder, params, record.identity)
