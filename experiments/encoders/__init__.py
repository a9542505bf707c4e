"""Encoders of texts from other libraries, which nothing here trains: vectors, and masked words."""

from experiments.common.experiment import Use
from experiments.encoders import config, page, predict

USE = Use(
    name="encoders",
    config=config.EncodersConfig(),
    predict=predict.predict,
    page=page.PAGE,
    serve=None,
    adopt=config.adopt,
)
