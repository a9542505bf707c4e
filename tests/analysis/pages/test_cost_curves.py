"""Small charts: where their points stand."""

from attention_jax.analysis.decoding_costs import DecodingCosts
from attention_jax.analysis.pages import cost_curves


def test_axes_are_logarithmic_and_common():
    costs = {
        "grows": DecodingCosts(((10, 1.0), (100, 100.0), (1000, 10_000.0)), (), ""),
        "stays": DecodingCosts(((10, 100.0), (1000, 100.0)), (), ""),
    }
    (grows,), (stays,) = cost_curves.charts(costs).values()
    # Edges of 6 in 240 x 72: the middle of both powers is the middle of the chart.
    assert grows.own == "6.0,66.0 120.0,36.0 234.0,6.0"
    assert stays.own == "6.0,36.0 234.0,36.0"
    assert grows.others == (stays.own,) and stays.others == (grows.own,)


def test_what_has_no_numbers_has_no_chart():
    costs = {"none": DecodingCosts((), (), "It decodes nothing.")}
    assert cost_curves.charts(costs) == {"none": ()}


def test_one_number_stands_in_the_middle():
    (chart,) = cost_curves.charts({"one": DecodingCosts(((10, 3.0),), (), "")})["one"]
    assert chart.own == "120.0,36.0" and chart.others == ()
