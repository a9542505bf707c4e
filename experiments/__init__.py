"""Scripts that train, evaluate and compare; absl flags live only here."""
