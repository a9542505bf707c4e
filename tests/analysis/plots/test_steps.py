import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import explain
from attention_jax.analysis import plots
from attention_jax.analysis.plots import style
from attention_jax.core import masks


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


@pytest.mark.slow
def test_each_step_has_a_labeled_panel(draw, tmp_path):
    q, k, v = draw(1, 4, 2, 8), draw(1, 6, 2, 8), draw(1, 6, 2, 3)
    plain = plots.explanation(explain(q, k, v, mask=masks.causal, query_offset=2), h=1)
    assert titles(plain) == ["scores", "visible", "weights", "output"]
    first, *_, last = plain.axes
    assert [x.get_text() for x in first.get_yticklabels()] == ["2", "3", "4", "5"]
    assert [x.get_text() for x in first.get_xticklabels()] == list("012345")
    assert (first.get_xlabel(), first.get_ylabel(), last.get_xlabel()) == ("key", "query", "entry")
    changed = plots.explanation(explain(q, k, v, score_mod=lambda score, *at: 2 * score))
    assert titles(changed)[0] == "scores before score_mod" and len(changed.axes) == 5
    style.save(plain, tmp_path / "steps.png")
    assert (tmp_path / "steps.png").stat().st_size > 5000


@pytest.mark.slow
def test_what_is_hidden_or_not_finite_is_drawn_as_missing(draw):
    q, k, v = draw(1, 2, 1, 4), draw(1, 3, 1, 4), draw(1, 3, 1, 4)
    figure = plots.explanation(explain(q, k.at[0, 0].set(jnp.nan), v, mask=masks.causal))
    image = figure.axes[0].images[0].get_array()
    assert np.ma.masked_invalid(image).mask[:, :2].tolist() == [[True, True], [True, False]]


@pytest.mark.slow
def test_there_must_be_something_to_draw(draw, users_errors):
    empty = explain(draw(1, 0, 1, 4), draw(1, 3, 1, 4), draw(1, 3, 1, 4))
    with pytest.raises(ValueError, match="`value` must hold a query, a key and an output"):
        plots.explanation(empty)
    with pytest.raises(ValueError, match="`h` must be a whole number from 0 to 0; got 1"):
        plots.explanation(empty, h=1)
