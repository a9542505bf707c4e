"""Language: a model of the characters of a text, which writes on."""

from attention_jax.training import objectives
from experiments.common import pairings, vocabularies
from experiments.common.config import attention_notes
from experiments.common.experiment import Experiment
from experiments.language import adopt, characters, config, evaluate, page, predict, serve

EXPERIMENT = Experiment(
    name="language",
    config=config.LanguageConfig(),
    lists={},
    load=config.load,
    contents=lambda text: {"training": text.training, "validation": text.validation},
    folder_name=lambda own, text: text.name,
    learn=config.learn,
    keep=vocabularies.keep,
    recall=vocabularies.recall,
    notes=lambda own, text, vocabulary: attention_notes(own.model),
    batches=config.batches,
    build=config.build,
    objective=lambda own: objectives.next_token,
    validate=evaluate.validate,
    evaluate=evaluate.evaluate,
    scorer=lambda own, text, vocabulary: evaluate.scorer(text, vocabulary),
    measures=("accuracy", characters.MEASURE),
    of_tokens=("accuracy",),
    why_not=pairings.look_back,
    predict=predict.predict,
    page=page.PAGE,
    serve=serve.ServedLanguage,
    adopt=adopt.adopt,
)
