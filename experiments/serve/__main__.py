"""Serves a trained run over HTTP: translations and where the model looks, or texts that go on.

    python -m experiments.serve --run=runs/mine
    python -m experiments.serve --run=runs/mine --port=8080 --beam=5 --rows=16 --log
    python -m experiments.serve --run=runs/shakespeare --temperature=0.8 --top_k=40

    curl --json '{"texts": ["3 1 2"]}' http://127.0.0.1:8000/translate

GET / is a page to type into, GET /health says what is served. POST /translate takes texts and
beam; /attention takes source and target, and gives the weights of every layer and head; /generate
takes prompts, tokens, temperature and seed. Requests of many clients share batches, and no answer
depends on who shares its batch. SIGTERM and Ctrl-C end what has begun. Flags of the run itself,
such as --seed, may be given too.
"""

from collections.abc import Sequence

from experiments.common import flags
from experiments.common.load_run import load_run, run_folder_of
from experiments.serve.config import ServeConfig, check
from experiments.serve.server import serve


def main(arguments: Sequence[str]) -> None:
    """Loads the run, and serves it."""
    own = flags.config_from_flags(ServeConfig())
    check(own)
    folder = run_folder_of(own.run, "serve")
    run = load_run(folder, arguments, beside=(ServeConfig(),))
    assert run.experiment.serve is not None  # or `run_folder_of` refuses
    serve(run.experiment.serve(run, own.batches.rows), own, name=folder.resolve().name)


if __name__ == "__main__":
    flags.launch(main, ServeConfig(), more=True)
