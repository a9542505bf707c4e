"""Live page."""
