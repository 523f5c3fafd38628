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
    feeding = encoder.get_layer(FEATURES).input
    finer = map_layers(encoder) if feeding.shape[1] == 1 else []
    return finer[-1] if finer else feeding._keras_history.operation.name


def map_layers(view: keras.Model) -> list[str]:
    """List the layers that a map can be made at: the last one of each resolution, coarsest last.

    Parameters
    ----------
    view : keras.Model

    Returns
    -------
    list of str
        Empty for a model without convolution.
    """
    side = view.inputs[0].shape[1]
    last: dict[int, str] = {}
    for layer in view.layers:
        shape = getattr(layer.output, "shape", ())
        if len(shape) == 4 and 1 < shape[1] <= (side + 1) // 2 and not isinstance(layer, keras.layers.ZeroPadding2D):
            last[shape[1]] = layer.name
    return [last[rows] for rows in sorted(last, reverse=True)]
