"""Images: the class of each, by a Vision Transformer, an RNN or a small CNN."""

from attention_jax.training import objectives
from experiments.common import guesses, pairings, scoring
from experiments.common.experiment import RNNS, Experiment
from experiments.images import adopt, config, evaluate, live, page, predict

EXPERIMENT = Experiment(
    name="images",
    config=config.ImagesConfig(),
    lists={},
    load=config.load,
    contents=lambda data: {
        "classes": data.classes,
        "train": data.train,
        "validation": data.validation,
        "test": data.test,
    },
    folder_name=lambda own, data: data.name,
    learn=config.learn,
    keep=config.keep,
    recall=config.recall,
    notes=lambda own, data, known: config.notes(own, data),
    batches=config.batches,
    build=config.build,
    objective=lambda own: objectives.classification,
    validate=evaluate.validate,
    evaluate=evaluate.evaluate,
    scorer=lambda own, data, known: scoring.of_outcomes(
        data.name,
        lambda measure: guesses.of_classes(data.train.labels, {"test": data.test.labels}),
    ),
    measures=("accuracy",),
    why_not=pairings.pool,
    has_positions=False,
    models={"transformer": {"model": "transformer"}, **RNNS, "cnn": {"model": "cnn"}},
    predict=predict.predict,
    page=page.PAGE._replace(live=live.write),
    adopt=adopt.adopt,
)
