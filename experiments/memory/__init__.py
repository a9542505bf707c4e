"""Memory: recall, copying, induction, state tracking and adding, trained and at other lengths."""

from experiments.common import pairings, scoring
from experiments.common.config import attention_notes
from experiments.common.experiment import Experiment
from experiments.memory import config, evaluate

EXPERIMENT = Experiment(
    name="memory",
    config=config.MemoryConfig(),
    lists={"problems": config.PROBLEMS},
    load=config.load,
    contents=lambda data: {},  # drawn, as flags say
    folder_name=lambda own, data: f"{own.data.problem}_{own.data.length}",
    learn=lambda own, data, folder: None,
    keep=lambda known, folder: None,
    recall=lambda own, folder: None,
    notes=lambda own, data, known: attention_notes(own.model),
    batches=lambda own, data, known: data.training,
    build=lambda own, known: config.build(own, max(config.test_lengths(own.data))),
    objective=config.objective,
    validate=evaluate.validate,
    evaluate=evaluate.evaluate,
    scorer=lambda own, data, known: scoring.of_outcomes(
        own.data.problem, lambda measure: evaluate.guess(own, data)
    ),
    measures=("accuracy",),
    why_not=pairings.look_back,
)
