"""Image models of other libraries, as runs of experiments.images."""

import math
from pathlib import Path
from typing import Any

from flax import nnx

from attention_jax.core.wording import said
from attention_jax.data.images.files import RESAMPLES, Fit
from attention_jax.nn.patches import ImageConfig
from attention_jax.pretrained.families._vision import PROCESSOR
from attention_jax.pretrained.loading import Pretrained
from experiments.common.experiment import Run
from experiments.images.config import Known

# Pillow's numbers of the ways to resample.
_BY_NUMBER = {int(way): name for name, way in RESAMPLES.items()}
_BILINEAR = int(RESAMPLES["bilinear"])
# Of a model whose places are interpolated with less of what is finer than they.
_ANTIALIASED = "dinov2_with_registers"


def adopt(loaded: Pretrained, run: Run) -> Run:
    """The run of a model, which knows its classes, and how it takes its pictures.

    Raises:
      ValueError: it has no classes, or takes pictures as none here are given.
    """
    model: Any = loaded.model
    path = run.folder
    if not loaded.config.head:
        raise ValueError(
            f"`--pretrained` must name a model that knows classes; {path} has no layer of them. "
            "`attention_jax.pretrained.load` gives its states."
        )
    classes = _classes(loaded, path)
    image, fit = _fit(loaded.beside.get(PROCESSOR, {}), loaded.config.image, path)
    if image != loaded.config.image:
        model = model.resized(image, antialias=loaded.family.name == _ANTIALIASED)
    graphdef, params = nnx.split(model)
    known = Known(classes, image, fit)
    return run._replace(known=known, graphdef=graphdef, params=nnx.as_pure(params))


def _classes(loaded: Pretrained, path: Path) -> tuple[str, ...]:
    """The name of each class, by its number; of a model that has none, the number."""
    count = loaded.config.transformer.vocabulary_size
    names = loaded.settings.get("id2label") or {str(i): f"class {i}" for i in range(count)}
    try:
        return tuple(str(names[str(i)]) for i in range(count))
    except (KeyError, TypeError):
        raise ValueError(
            f"`id2label` of the config.json of {path} must name all of {count} classes; it names "
            f"{len(names)}. Fetch the file anew."
        ) from None


def _fit(own: dict[str, Any], image: ImageConfig, path: Path) -> tuple[ImageConfig, Fit]:
    """The size of pictures, and how they become so, as a preprocessor_config.json says."""
    where = f"{PROCESSOR} of {path}"
    factor = own.get("rescale_factor", 1 / 255)
    if not own.get("do_rescale", True) or not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise ValueError(
            f"`rescale_factor` of {where} must be 1 / 255, by which pixels lie between 0 and 1; "
            f"got {said(factor)}. Models with another cannot be used yet."
        )
    resized = _resized(own.get("resample", _BILINEAR), where)
    usual = {"height": image.height, "width": image.width}
    first = _size(own.get("size", usual) if own.get("do_resize", True) else usual, "size", where)
    if not own.get("do_center_crop", False):
        if isinstance(first, int):
            raise ValueError(
                f"`do_center_crop` of {where} must be true where `size` is that of the shorter "
                "side, for pictures of all shapes become of one; got false. Such models cannot be "
                "used yet."
            )
        return _sized(image, first, where), Fit(resized)
    cut = _sized(image, _size(own.get("crop_size", usual), "crop_size", where), where)
    least = (first, first) if isinstance(first, int) else first
    if least[0] < cut.height or least[1] < cut.width:
        raise ValueError(
            f"`crop_size` of {where} must be no larger than `size`; got {cut.height} x "
            f"{cut.width} of {said(first)}. Fetch the file anew."
        )
    return cut, Fit(resized, first)


def _resized(number: Any, where: str) -> str:
    """The way of resizing that a number of Pillow's names."""
    if number not in _BY_NUMBER:
        raise ValueError(
            f"`resample` of {where} must be one of {', '.join(map(str, _BY_NUMBER))}; got "
            f"{said(number)}. Fetch the file anew."
        )
    return _BY_NUMBER[number]


def _size(found: Any, name: str, where: str) -> tuple[int, int] | int:
    """A height and width, or the length of the shorter side."""
    if isinstance(found, int):  # as earlier files have it: of squares
        return found, found
    if isinstance(found, dict) and {"height", "width"} <= set(found):
        return int(found["height"]), int(found["width"])
    if isinstance(found, dict) and "shortest_edge" in found:
        return int(found["shortest_edge"])
    raise ValueError(
        f"`{name}` of {where} must be a number, height and width, or shortest_edge; got "
        f"{said(found)}. Fetch the file anew."
    )


def _sized(image: ImageConfig, size: tuple[int, int] | int, where: str) -> ImageConfig:
    height, width = (size, size) if isinstance(size, int) else size
    if height % image.patch or width % image.patch:
        raise ValueError(
            f"The size of pictures in {where} must be a multiple of the model's patches of "
            f"{image.patch}; got {height} x {width}. The two files are not a pair."
        )
    return image._replace(height=height, width=width)
