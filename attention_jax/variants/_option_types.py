"""Checks of options: that a factory has them, and that they are of the annotated types."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from attention_jax.core import plain_types


def checked_options(
    name: str, factory: Callable[..., object], options: Mapping[str, object]
) -> dict[str, object]:
    """The options, where a factory takes them; 1 is 1.0 where it asks for a float.

    Args:
      name: of the variant, for errors.

    Raises:
      ValueError: an option that it does not have, one that is missing, or one of another type.
    """
    try:
        signature = inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that only type checkers know
        signature = inspect.signature(factory)
    try:
        bound = signature.bind(**options)
    except TypeError as error:
        known = tuple(signature.parameters)
        raise ValueError(
            f"The options of variant {name} are: {', '.join(known) or 'none'}; got "
            f"{', '.join(options) or 'none'} ({error}).{_guess(options, known)}"
        ) from None
    parameters = [signature.parameters[option] for option in bound.arguments]
    return dict(options) | {
        x.name: _converted(name, x, options[x.name]) for x in parameters if x.name in options
    }


def _guess(given: Mapping[str, Any], known: tuple[str, ...]) -> str:
    wrong = [option for option in given if option not in known]
    close = [name for option in wrong for name in difflib.get_close_matches(option, known, n=1)]
    return f" Did you mean {' and '.join(close)}?" if close else ""


def _converted(name: str, parameter: inspect.Parameter, value: Any) -> Any:
    wanted, default = parameter.annotation, parameter.default
    return plain_types.taken(parameter.name, value, wanted, of=f"variant {name}", default=default)
