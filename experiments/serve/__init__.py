"""A small HTTP server of a trained run: translations, attention, texts that go on."""
