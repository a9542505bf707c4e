"""Whisper from the command line: transcripts of files, languages that it hears, and its page."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import pretrained
from attention_jax.data.audio import wav
from attention_jax.data.audio.whisper_frames import RATE, whisper_frames
from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.models.whisper import WhisperConfig
from attention_jax.nn.transformer import TransformerConfig
from experiments.common.experiment import PageFlags, PredictFlags
from experiments.common.pretrained_runs import load_pretrained
from experiments.predict import PredictConfig
from tests.support import checkpoints

pytest.importorskip("soundfile", reason="soundfile is not installed")
TOKENS = ("<|de|>", "<|en|>", "<|fr|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>")
LONGEST = 14


def sizes(tokens):
    own = {"layers": 1, "heads": 2, "feed_forward": 12, "positions": "learned"}
    own |= {"activation": "gelu", "norm_epsilon": 1e-5, "embedding_scale": 1.0}
    return WhisperConfig(TransformerConfig(tokens, 8, max_length=LONGEST, **own), 6, 2, 4, 20, 10)


@pytest.fixture
def folder(tmp_path):
    """A small random model of three languages, as `transformers` keeps one."""
    made = checkpoints.small("whisper", sizes, ["abc defgh"], tmp_path, more=TOKENS)
    ids = {
        name: made.tokenizer.theirs[made.tokenizer.tokens(range(made.tokenizer.size)).index(x)]
        for name, x in zip(TOKENS, TOKENS, strict=True)
    }
    said = {
        "lang_to_id": {name: ids[name] for name in TOKENS[:3]},
        "task_to_id": {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "suppress_tokens": [*ids.values(), made.tokenizer.theirs[made.tokenizer.encode("d")[0]]],
        "begin_suppress_tokens": [made.tokenizer.theirs[made.tokenizer.encode("e")[0]]],
    }
    path = tmp_path / "model"
    (path / "generation_config.json").write_text(json.dumps(said))
    return path


def recording(path, seconds=0.15, seed=0, rate=RATE):
    samples = np.random.default_rng(seed).uniform(-0.9, 0.9, int(seconds * rate))
    path.write_bytes(wav.write(samples.astype(np.float32), rate=rate))
    return str(path)


def used(folder, member="predict", *arguments):
    own = [f"--pretrained={folder}", *arguments]
    return load_pretrained(folder, own, member=member, beside=(PredictConfig(),))


def token(loaded, name):
    return loaded.tokenizer.tokens(range(loaded.tokenizer.size)).index(name)


@functools.cache
def passes(folder):
    """The model of a folder, and its two passes as programs."""
    loaded = pretrained.load(folder)
    model = loaded.model
    encode = jax.jit(lambda frames: model.encode(frames, jnp.ones(frames.shape[:2], bool)))
    return loaded, encode, jax.jit(model.decode)


def by_hand(folder, file, *, language=None, task="transcribe"):
    """The most probable language and text: whole passes of the decoder, without a search."""
    loaded, encode, decode = passes(folder)
    words = loaded.tokenizer
    samples = wav.read(open(file, "rb").read(), name=file, rate=RATE)
    frames = jnp.asarray(whisper_frames(samples, mels=6, seconds=0.2))[None]
    memory = encode(frames)

    def after(ids):
        # No token sees those after it.
        padded = jnp.asarray([[*ids, *[PAD] * (LONGEST - len(ids))]])
        return np.array(decode(padded, memory)[0, len(ids) - 1], np.float64)

    first = after([BOS])
    heard = max(TOKENS[:3], key=lambda name: first[token(loaded, name)])
    named = [heard if language is None else language, f"<|{task}|>", "<|notimestamps|>"]
    ids = [BOS, *(token(loaded, name) for name in named)]
    begin = len(ids)
    while len(ids) <= LONGEST:
        logits = after(ids)
        never = [*map(lambda name: token(loaded, name), TOKENS), *words.encode("d")]
        logits[[PAD, BOS, *never, *(words.encode("e") if len(ids) == begin else [])]] = -np.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == EOS:
            break
    return heard, words.decode(ids[1:])


@pytest.mark.slow
def test_transcripts_are_those_of_whole_passes(folder, tmp_path):
    run, heard = used(folder), set()
    for seed in range(4):
        file = recording(tmp_path / f"{seed}.wav", seed=seed)
        language, wanted = by_hand(folder, file)
        heard.add(language)
        assert list(run.experiment.predict(run, PredictFlags(file=file))) == [wanted] and wanted
    file = recording(tmp_path / "0.wav")
    for name in ("de", "fr"):
        given = PredictFlags(file=file, language=name, translate=True)
        _, wanted = by_hand(folder, file, language=f"<|{name}|>", task="translate")
        assert list(run.experiment.predict(run, given)) == [wanted]


def test_recordings_of_a_folder_have_the_transcripts_that_each_has_alone(folder, tmp_path):
    (tmp_path / "own").mkdir()
    files = [recording(tmp_path / "own" / f"{n}.wav", 0.05 + 0.02 * n, n) for n in range(3)]
    run = used(folder, "predict", "--beam=2")
    lines = list(run.experiment.predict(run, PredictFlags(file=str(tmp_path / "own"))))
    alone = [next(run.experiment.predict(run, PredictFlags(file=file))) for file in files]
    assert lines == [f"{n}.wav\t{text}" for n, text in enumerate(alone)]


def test_the_page_shows_what_is_heard(folder, tmp_path):
    run = used(folder, "page")
    given = PageFlags(file=recording(tmp_path / "a.wav"), alternatives=2)
    page = run.experiment.page
    (reading,) = page.read(run, page.items(run, given), given)
    # 0.15 s are 15 frames, of which two make a position.
    assert reading.source[:2] == ["0.00 s", "0.02 s"] and len(reading.source) == 8
    assert list(reading.target[1:3]) == ["<|transcribe|>", "<|notimestamps|>"]
    assert reading.maps["cross"].weights.shape == (1, 2, len(reading.target), 8)
    assert reading.maps["cross"].is_exact.all() and set(reading.maps) == {"decoder", "cross"}
    assert page.about(run) == "transformer, attention scaled_dot, whisper"
    with pytest.raises(ValueError, match="`--file` must name a recording"):
        page.items(run, PageFlags())


def test_a_model_of_one_language_is_told_what_its_config_forces(folder, tmp_path):
    said = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").unlink()
    loaded = pretrained.load(folder)
    forced = {"forced_decoder_ids": [[1, said["no_timestamps_token_id"]]]}
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | forced))
    run = used(folder, "page")
    given = PageFlags(file=recording(tmp_path / "a.wav"))
    (reading,) = run.experiment.page.read(run, run.experiment.page.items(run, given), given)
    assert reading.target[0] == "<|notimestamps|>"
    for flags, message in (
        ({"language": "en"}, "`--language` must be left out"),
        ({"translate": True}, "`--translate` goes with models of many languages"),
    ):
        with pytest.raises(ValueError, match=message):
            list(run.experiment.predict(run, PredictFlags(file=given.file, **flags)))
    assert loaded.beside == {}


def test_what_cannot_be_heard_is_told_in_one_line(folder, tmp_path):
    run, predict = (
        used(folder),
        lambda **own: list(run.experiment.predict(run, PredictFlags(**own))),
    )
    with pytest.raises(ValueError, match="must last at most 0.2 s, .* a.wav lasts 0.3 s"):
        predict(file=recording(tmp_path / "a.wav", 0.3))
    with pytest.raises(ValueError, match="`--language` must be de, en, fr; got 'xx'"):
        predict(file=recording(tmp_path / "b.wav"), language="xx")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"suppress_tokens": [999]}))
    other = used(folder)
    with pytest.raises(ValueError, match="must name tokens of the model, which has"):
        list(other.experiment.predict(other, PredictFlags(file=str(tmp_path / "b.wav"))))
