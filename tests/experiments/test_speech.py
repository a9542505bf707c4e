"""The script of speech as a user runs it, on tones and on files, and the data that it refuses."""

import json
from functools import partial

import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import speech_alignment
from attention_jax.data.audio import spectrogram, tone_words, wav
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding import transcribe
from attention_jax.decoding.translate import DecodingConfig
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.models.speech import AudioFrontEnd, SpeechTransformerEncoder
from attention_jax.nn.transformer import TransformerConfig
from experiments.common import flags
from experiments.common.load_run import load_params
from experiments.speech import EXPERIMENT, config, page
from tests.analysis.pages.test_explorer import data_of, weights_of
from tests.support.scripts import script, validated

TINY = (
    "--width=8 --heads=2 --layers=1 --feed_forward=8 --steps=2 --frames_per_batch=600 --buckets=1 "
    "--evaluate_every=2 --evaluate_sentences=2 --checkpoint_every=1 --platform=cpu "
    "--sound_option=train_size=12 --sound_option=validation_size=2 --sound_option=test_size=2 "
    "--sound_option=most_words=1"
).split()


run = partial(script, "speech", timeout=600)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tones"
    done = run(*TINY, f"--run={folder}", "--select=cer")
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_a_run_leaves_its_folder(trained):
    folder, done = trained
    assert "wrong words" in done.stdout
    for name in (
        "run.flags",
        "environment.json",
        "metrics.jsonl",
        "vocabulary.json",
        "samples.txt",
        "transcripts.json",
        "curves.png",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert "--sounds=tones" in (folder / "run.flags").read_text()
    assert validated(folder) == set(config.MEASURES)
    result = json.loads((folder / "result.json").read_text())
    outcomes = json.loads((folder / "outcomes.json").read_text())
    assert set(result["tests"]) == set(outcomes) == {"test", "unseen"}
    for test, measures in outcomes.items():
        for measure, pairs in measures.items():
            top, bottom = np.sum(pairs, axis=0)
            assert result["tests"][test][measure] == pytest.approx(100 * top / bottom)


@pytest.mark.slow
def test_resumed_is_as_undisturbed(trained, tmp_path):
    folder, _ = trained
    stopped = tmp_path / "stopped"
    # The schedule is that of the whole run.
    done = run(*TINY, f"--run={stopped}", "--max_seconds=0.001")
    assert done.returncode == 0, done.stderr
    (stopped / "result.json").unlink()
    done = run(*TINY, f"--run={stopped}", "--resume")
    assert done.returncode == 0 and "resumed" in done.stderr, done.stderr
    result, expected = (
        json.loads((where / "result.json").read_text()) for where in (stopped, folder)
    )
    assert result["steps"] == 2
    for name in ("transcripts.json", "outcomes.json"):
        assert (stopped / name).read_text() == (folder / name).read_text()
    rows = [
        [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()][-1]
        for where in (stopped, folder)
    ]
    assert rows[0]["loss"] == rows[1]["loss"]
    assert result["tests"] == expected["tests"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--model=rnn", "--attention=location_aware"],
        ["--model=rnn", "--loss=ctc", "--halvings=1"],
        ["--loss=ctc", "--beam=3", "--halvings=1"],
        ["--loss=joint", "--ctc_share=0.5"],
        ["--attention=alibi", "--positions=none", "--beam=2"],
    ],
    ids=" ".join,
)
def test_other_models_and_losses_run(options, tmp_path):
    done = run(*TINY, f"--run={tmp_path / 'run'}", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").exists()
    done = script("visualize", f"--run={tmp_path / 'run'}", "--examples=1", timeout=600)
    if "--model=rnn" in options and "--loss=ctc" in options:
        assert done.returncode == 1 and "that CTC trained, without decoder" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    data = data_of((tmp_path / "run" / "explorer.html").read_text(encoding="utf-8"))
    places = set(data["sentences"][0]["readings"][0]["maps"])
    assert ("encoder" in places) == ("--model=rnn" not in options)
    assert ("cross" in places) == ("--loss=ctc" not in options)


@pytest.mark.parametrize(
    ("options", "told", "attention"),
    [
        ("--attention=retention --loss=ctc", "retention nowhere; scaled_dot in", "scaled_dot"),
        ("--attention=alibi --loss=ctc", None, "alibi"),
        (
            "--attention=retention --loss=joint",
            "retention in the decoder; scaled_dot in the encoder and between the two",
            "retention",
        ),
        ("--model=rnn --attention=location_aware --loss=ctc", "location_aware nowhere", "none"),
        ("--model=rnn --attention=location_aware --loss=joint", None, "location_aware"),
    ],
)
def test_nothing_stands_in_unsaid(options, told, attention):
    own, _ = flags.parse(EXPERIMENT.config, options.split())
    lines = list(config.notes(own))
    assert not lines if told is None else lines[0].startswith(f"attention: {told}")
    assert config.attention_name(own) == attention


@pytest.mark.slow
def test_a_run_says_where_scaled_dot_stands_in(tmp_path):
    options = ["--loss=ctc", "--attention=retention", "--halvings=1"]
    done = run(*TINY, f"--run={tmp_path / 'run'}", *options)
    assert done.returncode == 0, done.stderr
    assert "attention: retention nowhere; scaled_dot in the encoder\n" in done.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["attention"] == "scaled_dot"


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(10):
        samples = 0.1 * draw.normal(size=3000)
        (folder / f"{i}.wav").write_bytes(wav.write(samples, rate=8000))
        (folder / f"{i}.txt").write_text("ab ba"[: 2 + i % 4].strip())
    return folder


@pytest.mark.slow
def test_recordings_of_ones_own_without_the_bad(recordings, tmp_path):
    (recordings / "3.wav").write_bytes(b"nothing")
    (recordings / "4.txt").write_text(" ")
    short = wav.write(np.zeros(150), rate=8000)
    (recordings / "5.wav").write_bytes(short)
    flags = [*TINY[:-4], f"--sounds={recordings}", f"--run={tmp_path / 'run'}"]
    done = run(*flags)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "3.wav is not" in done.stderr and "--skip_bad" in done.stderr
    done = run(*flags, "--skip_bad")
    assert done.returncode == 0, done.stderr
    assert "3 recordings are bad, and left out; the first: " in done.stdout
    assert json.loads((tmp_path / "run" / "result.json").read_text())["skipped"] == 3


def table(folder, lengths):
    """Recordings of so many samples each, as a table of lines with their splits."""
    folder.mkdir(exist_ok=True)
    draw, lines = np.random.default_rng(0), []
    for i, (split, length) in enumerate(lengths):
        (folder / f"{i}.wav").write_bytes(wav.write(0.1 * draw.normal(size=length), rate=8000))
        lines.append(f"{i}.wav\tab\t{split}\n")
    (folder / "table.tsv").write_text("".join(lines))
    return f"--sounds={folder / 'table.tsv'}"


LEARNED = ["--positions=learned", "--halvings=0", "--max_frames=40"]
HEARD = [("train", 3000), ("train", 2900), ("validation", 3000)]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3000, 150], "4.wav has 150. Leave it out. Or leave such recordings out by --skip_bad"),
        ([3000, 4000], "at most 40 frames, for which positions were learned; "),
    ],
)
def test_a_test_recording_is_refused_before_training(lengths, message, tmp_path):
    sounds = table(tmp_path / "sounds", [*HEARD, *[("test", length) for length in lengths]])
    done = run(*TINY[:-4], *LEARNED, sounds, f"--run={tmp_path / 'run'}")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()


def test_a_split_of_which_nothing_is_left_is_refused(tmp_path):
    sounds = table(tmp_path / "sounds", [*HEARD, ("test", 150)])
    done = run(*TINY[:-4], sounds, f"--run={tmp_path / 'run'}", "--skip_bad")
    assert done.returncode == 1 and "it left none of test" in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_test_recordings_are_left_out_and_learned_positions_suffice(tmp_path):
    # 36 frames would be padded to 48, of which only 40 have positions.
    sounds = table(tmp_path / "sounds", [*HEARD, ("test", 3000), ("test", 150), ("test", 4000)])
    done = run(*TINY[:-4], *LEARNED, sounds, f"--run={tmp_path / 'run'}", "--skip_bad")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["skipped"] == 2
    assert len(json.loads((tmp_path / "run" / "transcripts.json").read_text())["test"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sounds=nowhere"], "`--sounds` must be tones, fsdd, fsdd_joined, or a folder or"),
        (["--sounds=fsdd", "--data_dir=nowhere"], "fsdd_recordings.zip does not exist"),
        (["--sound_option=color=red"], "with a name among train_size, "),
        (["--sound_option=noise=loud"], "noise must be a number (float); got 'loud'"),
        (["--loss=ctc", "--halvings=6"], "`--loss=ctc` needs "),
        (["--loss=ctc", "--label_smoothing=0.1"], "`--label_smoothing` must be 0 with --loss=ctc"),
        (["--loss=ctc", "--sample"], "must be greedy or a beam with CTC; got sample"),
        (["--loss=joint", "--ctc_share=1.5"], "`--ctc_share` must be a Python number in [0, 1)"),
        (["--time_masks=-1"], "--time_masks=-1"),
        (["--time_share=1.5"], "--time_share=1.5"),
        (["--max_frames=10"], "Raise `max_frames`"),
        (["--model=rnn", "--attention=alibi"], "'alibi' does neither"),
        (["--model=rnn", "--pyramid=0", "--layers=2"], "Raise `pyramid`"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_what_a_user_can_mend_ends_in_one_clear_line(arguments, message, tmp_path):
    done = run(*TINY, f"--run={tmp_path / 'run'}", *arguments)
    assert done.returncode != 0 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


CORPUS = tone_words.tones(train_size=12, validation_size=2, test_size=2, most_words=1)


@pytest.fixture
def heard(tmp_path):
    """The recordings of the test as files."""
    folder = tmp_path / "heard"
    folder.mkdir()
    for number, one in enumerate(CORPUS.tests["test"]):
        (folder / f"{number}.wav").write_bytes(wav.write(one.samples(), rate=8000))
    return folder


@pytest.mark.slow
def test_predict_transcribes_as_the_run_did(trained, heard):
    own = f"--run={trained[0]}"
    done = script("predict", own, f"--file={heard}")
    assert done.returncode == 0, done.stderr
    wanted = json.loads((trained[0] / "transcripts.json").read_text())["test"]
    assert done.stdout.splitlines() == [f"{n}.wav\t{text}" for n, text in enumerate(wanted)]
    one = f"--file={heard / '0.wav'}"
    done = script("predict", own, one, "--beam=3", "--nbest=2", "--scores")
    scores = [float(line.split("\t")[0]) for line in done.stdout.splitlines()]
    assert len(scores) == 2 and scores[0] >= scores[1]
    fast = heard / "0.wav"
    fast.write_bytes(wav.write(CORPUS.tests["test"][0].samples(), rate=16000))
    done = script("predict", own, one)
    assert done.returncode == 1 and "must have 8000 samples a second" in done.stderr
    assert script("predict", own, one, "--resample").returncode == 0
    done = script("predict", own, "--text=a")
    assert done.returncode == 1 and "`--text` does not go with" in done.stderr
    done = script("visualize", own, "--text=a")
    assert done.returncode == 1 and "`--text` does not go with" in done.stderr


@pytest.mark.slow
def test_the_page_shows_where_it_listens(trained, heard, tmp_path):
    folder, output = trained[0], tmp_path / "page.html"
    done = script("visualize", f"--run={folder}", f"--other_run={folder}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert f"{output}: 2 recordings" in done.stdout
    data = data_of(output.read_text(encoding="utf-8"))
    by_file = script("visualize", f"--run={folder}", f"--file={heard / '0.wav'}")
    assert f"{folder / 'explorer.html'}: 1 recording," in by_file.stdout, by_file.stderr
    vocabulary = Tokenizer.load(folder / "vocabulary.json")
    graphdef, params = read_back(folder, vocabulary)
    search = DecodingConfig(method="beam", beam_size=5, nbest=5)
    transcriber = transcribe.Transcriber(
        graphdef, vocabulary, spectrogram.Spectrogram(), search, rows=8
    )
    for one, shown in zip(CORPUS.tests["test"], data["sentences"], strict=True):
        first, second = shown["readings"]
        assert first == second and shown["text"].endswith(f": {one.transcript}")
        (found,) = transcriber(params, [one])
        assert [text for text, _ in first["alternatives"]] == [best.text for best in found]
        wanted, tokens, frames = speech_alignment.alignment(
            transcriber, params, one, found[0].tokens
        )
        assert first["target"] == tokens and frames == 4
        assert len(first["source"]) == len(first["picture"]["boxes"]) == wanted.shape[-1]
        got = weights_of(first["maps"]["cross"])
        np.testing.assert_allclose(got, wanted, atol=wanted.max() / 255)
        assert set(first["maps"]) == {"encoder", "decoder", "cross"}


def read_back(folder, vocabulary):
    """The structure of the trained model and its parameters, without the script."""
    config = TransformerConfig(vocabulary.size, width=8, layers=1, heads=2, feed_forward=8)

    def build(key):
        def listen(rngs):
            return SpeechTransformerEncoder(config, AudioFrontEnd(), rngs=rngs)

        return Seq2SeqTransformer(config, encoder=listen, rngs=nnx.Rngs(key))

    return nnx.graphdef(nnx.eval_shape(lambda: build(0))), load_params(folder, build)


def test_moments_have_names():
    assert page.names(9, 4, 0.01) == ["0.00 s", "0.04 s", "0.08 s"]
