"""Which model is *the model*, its card, and models that travel."""
