"""Interpretability and reporting: attention maps, attribution, variants, plots, HTML pages.

    from attention_jax import analysis

    found = analysis.attention_maps.attention_maps(model, batch)
    analysis.plots.run_plots.attention_heatmap(found["cross"].weights, source, target, "cross.png")

Modules are imported at first use, since plots and pages need packages of an extra.
"""

from attention_jax.core import lazy

__getattr__, __dir__ = lazy.submodules(__name__, __path__)
