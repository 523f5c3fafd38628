"""The parts that every model has, whatever built it: a map, ``features`` after it, and an encoder of its own or not."""

import keras

FEATURES = "features"


def encoder_of(model: keras.Model) -> keras.Model:
    """Return the flat model that starts at ``image``: a Siamese model's encoder, or `model` itself."""
    return next((layer for layer in model.layers if layer.name == "encoder"), model)


def features_model(model: keras.Model) -> keras.Model:
    """Return the part of `model` from ``image`` to ``features``; it shares its layers."""
    flat = encoder_of(model)
    return keras.Model(flat.input, flat.get_layer(FEATURES).output, name="backbone")


def cam_layer(model: keras.Model) -> str:
    """Name the last layer whose (rows, columns, channels) output has more than one cell; heatmaps are made there.

    It feeds ``features`` unless the image is small. Of a Siamese model it is a layer of the encoder.
    """
    encoder = encoder_of(model)
    maps = [layer.output for layer in encoder.layers if len(layer.output.shape) == 4 and layer.output.shape[1] > 1]
    feeding = encoder.get_layer(FEATURES).input
    last = feeding if feeding.shape[1] > 1 or not maps else maps[-1]
    return last._keras_history.operation.name
