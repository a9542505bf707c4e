"""Translation: sentences to sentences, of toy tasks and of real text."""

from attention_jax.data import tasks
from attention_jax.evaluation import text
from attention_jax.training import objectives
from experiments.common import pairings, vocabularies
from experiments.common.experiment import RNNS, Experiment
from experiments.common.pretrained_runs import with_tokenizer
from experiments.translation import config, evaluate, live, page, predict, serve, sides

EXPERIMENT = Experiment(
    name="translation",
    config=config.TranslationConfig(),
    lists={"tasks": tasks.names()},
    load=config.load,
    contents=lambda task: {"train": task.train, "validation": task.validation, **task.tests},
    folder_name=lambda own, task: own.data.preset or own.data.task,
    named=config.named,
    learn=config.learn,
    keep=vocabularies.keep,
    recall=vocabularies.recall,
    notes=config.notes,
    batches=config.batches,
    left_out=config.left_out,
    build=config.build,
    objective=lambda own: objectives.translation,
    validate=evaluate.validate,
    evaluate=evaluate.evaluate,
    scorer=evaluate.scorer,
    measures=text.MEASURES,
    why_not=pairings.decode,
    models={"transformer": {"model": "transformer"}} | RNNS | sides.MODELS,
    has_costs=True,
    predict=predict.predict,
    page=page.PAGE._replace(live=live.write),
    serve=serve.ServedTranslation,
    adopt=with_tokenizer,
)
