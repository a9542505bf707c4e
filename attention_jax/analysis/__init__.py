"""Interpretability and reporting: attention maps, attribution, variants, plots, HTML pages."""
