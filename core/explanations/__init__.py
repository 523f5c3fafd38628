"""Why a model answers as it does: maps (heavy: `grad_cam`, `scores`) and the Siamese jury (light: `jury`)."""
