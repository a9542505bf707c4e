"""Guards of every variant: empty calls give empty or zero outputs, wrong arguments one line."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import ATTENTION_WORDS, clear_calls_of
from attention_jax.core.types import AnyArray, Options, Output, Params, State, Variant
from attention_jax.core.values import Made, bind
from attention_jax.variants._builders import arguments
from attention_jax.variants._builders.divided import attend as divided

R = TypeVar("R")

_WORDS = {word: f"{meant}, in its `Options(...)`" for word, meant in ATTENTION_WORDS.items()}
_WORDS |= {name: f"`Options({name}=...)`" for name in Options._fields}


def guarded(variant: Variant) -> Variant:
    """The variant, of which no function computes with empty arrays, and which takes NumPy's."""
    if isinstance(variant.attend, Made):  # from the registry, which guarded it
        return variant
    given = inspect.signature(variant.attend).parameters
    alone = all(x in given and given[x].default is None for x in ("k", "v"))
    takes_features = variant.features is not None
    # Parameters are compared with those of any layer, however wide its input is.
    made = bind(_of_any_width, variant.init) if takes_features else variant.init
    attend = bind(
        _attend_alone if alone else _attend,
        made,
        (variant.score is not None, takes_features),
        bind(divided, variant.attend, variant.divides),
    )
    init = bind(_init, variant.init, takes_features)
    own = variant._replace(init=init, attend=attend)
    start, step, cross_step, extend = (
        variant.start,
        variant.step,
        variant.cross_step,
        variant.extend,
    )
    if start is None:
        return own
    return own._replace(
        start=bind(_start, made, start),
        step=None if step is None else bind(_step, made, takes_features, start, step),
        cross_step=None if cross_step is None else bind(_cross_step, made, start, cross_step),
        extend=None if extend is None else bind(_extend, made, takes_features, start, extend),
    )


_ANY_WIDTH = 6  # of inputs of a layer, where it does not matter


def _of_any_width(init: Callable[..., Params], key: PRNGKeyArray, **sizes: int) -> Params:
    return init(key, width=_ANY_WIDTH, **sizes)


@clear_calls_of("init", bound=2)
def _init(
    init: Callable[..., Params],
    takes_width: bool,
    key: PRNGKeyArray,
    *,
    heads: int,
    kv_heads: int,
    head_width: int,
    width: int | None = None,
) -> Params:
    sizes = {"heads": heads, "kv_heads": kv_heads, "head_width": head_width}
    if takes_width:
        if width is None:
            raise ValueError(
                "`width` of the layer's input must be given: this variant learns a map of it; got "
                f"None. Write `init(key, ..., width={heads * head_width})`."
            )
        sizes["width"] = width
    plain_types.sizes(**sizes)
    checks.divides("kv_heads", kv_heads, "heads", heads)
    checks.random_key("key", key)
    return init(key, **sizes)


@clear_calls_of("attend", bound=3, words=_WORDS)
def _attend(
    init: Callable[..., Params],
    kind: tuple[bool, bool],
    attend: Callable[..., Output],
    params: Params,
    q: AnyArray,
    k: AnyArray,
    v: AnyArray,
    options: Options = Options(),
    *,
    features: Any = None,
) -> Output:
    """`attend`, or zeros where there is no query, no key, no sequence or no width of values."""
    if not isinstance(options, Options):
        raise ValueError(
            f"`options` must be an `Options`; got {type(options).__name__}. "
            "Write `Options(mask=...)`."
        )
    query, key, value = own = _arrays(q, k, v)
    is_score, takes_features = kind
    # Of a score, query and key may have widths of their own, and so may its parameters.
    checks.attention_arrays(query, key, value, same_width=not is_score)
    sizes = arguments.sizes_of(query, key)
    arguments.check_params(init, params, sizes, names_only=is_score)
    checks.one_of("return_lse", options.return_lse, (False, True))
    arguments.check_features(takes_features, features, query.shape[:2])
    out = *query.shape[:3], value.shape[-1]
    if not options.return_lse and not (key.shape[1] and np.prod(out)):
        return jnp.zeros(out, query.dtype)
    return _explained(
        partial(attend, params, *own, options, features),
        partial(arguments.check_options, options, query.shape[1], key.shape[1]),
        partial(arguments.check_params, init, params, sizes),
    )


@clear_calls_of("attend", bound=3, words=_WORDS)
def _attend_alone(
    init: Callable[..., Params],
    kind: tuple[bool, bool],
    attend: Callable[..., Output],
    params: Params,
    q: AnyArray,
    k: AnyArray | None = None,
    v: AnyArray | None = None,
    options: Options = Options(),
) -> Output:
    """`_attend`, where the keys default to the queries and the values to the keys."""
    k = q if k is None else k
    return _attend(init, kind, attend, params, q, k, k if v is None else v, options)


@clear_calls_of("start", bound=2)
def _start(
    init: Callable[..., Params],
    start: Callable[..., State],
    params: Params,
    batch: int,
    length: int,
    *,
    heads: int,
    kv_heads: int,
    head_width: int,
    value_width: int,
    dtype: DTypeLike,
) -> State:
    sizes = arguments.Sizes(heads, kv_heads, head_width)
    plain_types.room(batch=batch, length=length)
    plain_types.sizes(**sizes._asdict(), value_width=value_width)
    arguments.check_params(init, params, sizes)
    dtype = plain_types.float_dtype(dtype)
    return start(params, batch, length, **sizes._asdict(), value_width=value_width, dtype=dtype)


@clear_calls_of("step", bound=4)
def _step(
    init: Callable[..., Params],
    takes_features: bool,
    start: Callable[..., State],
    step: Callable[..., tuple[State, Array]],
    params: Params,
    state: State,
    q: AnyArray,
    k: AnyArray,
    v: AnyArray,
    *,
    features: Any = None,
) -> tuple[State, Array]:
    own = _arrays(q, k, v)
    checks.attention_arrays(*own, checks.POSITIONS, same_width=True)
    arguments.check_features(takes_features, features, own[0].shape[:1])
    more = {} if features is None else {"features": features}
    return _next(init, start, partial(step, params, state, *own, **more), params, state, own, None)


@clear_calls_of("extend", bound=4)
def _extend(
    init: Callable[..., Params],
    takes_features: bool,
    start: Callable[..., State],
    extend: Callable[..., tuple[State, Array]],
    params: Params,
    state: State,
    q: AnyArray,
    k: AnyArray,
    v: AnyArray,
    *,
    visible: AnyArray | None = None,
    features: Any = None,
) -> tuple[State, Array]:
    query, key, value = own = _arrays(q, k, v)
    checks.attention_arrays(*own, same_width=True)
    arguments.check_positions(query, key, visible)
    arguments.check_features(takes_features, features, query.shape[:2])
    out = *query.shape[:3], value.shape[-1]
    if not np.prod(out):
        return state, jnp.zeros(out, query.dtype)
    more = {"visible": visible, "features": features}
    more = {name: x for name, x in more.items() if x is not None}
    call = partial(extend, params, state, *own, **more)
    return _next(init, start, call, params, state, own, None)


@clear_calls_of("cross_step", bound=3)
def _cross_step(
    init: Callable[..., Params],
    start: Callable[..., State],
    step: Callable[..., tuple[State, Array]],
    params: Params,
    state: State,
    q: AnyArray,
    k: AnyArray,
    v: AnyArray,
    *,
    visible: AnyArray,
    dropout_key: PRNGKeyArray | None = None,
) -> tuple[State, Array]:
    own = _arrays(q, k, v)
    checks.attention_arrays(*own, checks.QUERY_OF_KEYS, same_width=True)
    drawn = {}
    if dropout_key is not None:
        checks.random_key("dropout_key", dropout_key)
        drawn = {"dropout_key": dropout_key}
    call = partial(step, params, state, *own, visible=visible, **drawn)
    return _next(init, start, call, params, state, own, own[1].shape[1])


def _next(
    init: Callable[..., Params],
    start: Callable[..., State],
    call: Callable[[], tuple[State, Array]],
    params: Params,
    state: State,
    own: tuple[Array, Array, Array],
    length: int | None,
) -> tuple[State, Array]:
    """The next position, or one line about parameters or a state that do not fit it."""
    sizes = arguments.sizes_of(own[0], own[1])
    arguments.check_params(init, params, sizes)
    arguments.check_batch(state, own[0].shape[0])
    return _explained(
        call,
        partial(arguments.check_state, start, params, state, own, length),
    )


def _explained(call: Callable[[], R], *reasons: Callable[[], None]) -> R:
    """The result of a call; where it fails, the line of the first check that says why."""
    try:
        return call()
    except Exception as error:
        line = next(filter(None, map(arguments.fault, reasons)), None)
        if line is None or line == str(error):
            raise
    raise ValueError(line)


def _arrays(*given: Any) -> tuple[Any, ...]:
    """Arrays of NumPy as those of JAX."""
    return tuple(jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in given)
