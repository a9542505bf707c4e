"""Speech: what is said in recordings, by attention, by CTC, or by both."""

from experiments.common import pairings, vocabularies
from experiments.common.experiment import Experiment
from experiments.speech import adopt, config, data, evaluate, live, page, predict

EXPERIMENT = Experiment(
    name="speech",
    config=config.SpeechConfig(),
    lists={"sounds": config.SOUNDS},
    load=data.load,
    contents=data.contents,
    folder_name=lambda own, corpus: corpus.name,
    learn=data.learn,
    keep=vocabularies.keep,
    recall=vocabularies.recall,
    notes=lambda own, corpus, vocabulary: (*data.notes(corpus), *config.notes(own)),
    batches=data.batches,
    build=config.build,
    objective=config.objective,
    validate=evaluate.validate,
    evaluate=evaluate.evaluate,
    scorer=evaluate.scorer,
    measures=("wer", "cer", "accuracy"),
    why_not=pairings.decode,
    seed_is_of_data=True,
    predict=predict.predict,
    page=page.PAGE._replace(live=live.write),
    adopt=adopt.adopt,
)
