"""Why a model answers as it does. Maps are heavy (`methods`, `scores`); the jury and `question` load no Keras."""
