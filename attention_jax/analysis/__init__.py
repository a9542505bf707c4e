"""Interpretability and reporting: attention maps, attribution, variant introspection, plots and
HTML pages."""
