"""The live page about a run of experiments.speech: recordings play beside their alignments."""

from attention_jax.analysis.pages import explorer
from attention_jax.analysis.pages.live import parts, recordings
from attention_jax.data.audio import batches, wav
from attention_jax.data.audio.corpus import Utterance
from attention_jax.decoding.transcribe import Transcriber
from experiments.common.experiment import LivePage, Run
from experiments.common.pages import one_model
from experiments.speech import page
from experiments.speech.config import front_end


def write(call: LivePage) -> str:
    """The page: recordings that --file names, or some of the test, with what the run made of them.

    Raises:
      ValueError: other runs or checkpoints are asked for, which this page does not show.
    """
    run = call.run
    one_model(call)
    about = page.about(run)  # refuses runs without attention
    shown = parts.Shown(run.folder.resolve().name, about, [("speech", "")])
    items = page.items(run, call.inputs)
    transcribe = page.transcriber_of(run, call.inputs)
    assert isinstance(transcribe, Transcriber)  # --live has no --pretrained
    found = page.read(run, items, call.inputs)
    return recordings.page(
        shown,
        [
            recording(run, transcribe, utterance, own)
            for (_, utterance), own in zip(items, found, strict=True)
        ],
    )


def recording(
    run: Run, transcribe: Transcriber, utterance: Utterance, found: explorer.Reading
) -> recordings.Recording:
    """A recording as the page plays it, with a reading of it."""
    settings = transcribe.settings
    second = settings.hop / settings.rate
    assert found.picture is not None
    return recordings.Recording(
        name=utterance.name,
        wav=wav.write(utterance.samples(), rate=settings.rate),
        png=found.picture.png,
        seconds=batches.frames_of(utterance, settings) * second,
        step=front_end(run.config).shortening * second,
        source=found.source,
        target=found.target,
        text=found.alternatives[0][0] if found.alternatives else "",
        maps=found.maps,
        truth=utterance.transcript,
    )
