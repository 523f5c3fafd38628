"""A training in a process of its own, with the Keras backend and the devices that its environment names.

``python tests/backend_child.py SETTINGS``, JSON: {"runs": {folder name: RunConfig fields}, "evaluate": bool}. Prints a
line of JSON at its end: which heavy packages came along, and how large a part of each batch each device was given.
"""

import json
import sys

import keras
import test_training as made_up  # from the folder of this script

from core import batches, evaluation, runs, training
from core.config import RunConfig
from core.models import mc_dropout

parts: set[tuple[str, int]] = set()


def watched(call):
    """Note, at each step, on which device how many rows are."""

    def note(self, inputs, training=False):
        # Of a step of the training, not of the shapes that Keras traces beforehand.
        if training and keras.backend.backend() == "jax":
            import jax

            jax.debug.inspect_array_sharding(inputs, callback=lambda found: told(found, inputs.shape))
        elif training and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            tf.py_function(lambda x, n: parts.add((f"replica {int(n)}", len(x))), [inputs, replica], [])
        return call(self, inputs, training=training)

    return note


def told(sharding, shape) -> None:
    rows = sharding.shard_shape(shape)[0]
    parts.update((str(device), rows) for device in sharding.device_set)


def main() -> None:
    settings = json.loads(sys.argv[1])
    batches.grey_inputs = made_up.fake_inputs
    if not settings["evaluate"]:
        evaluation.evaluate = lambda run, report=None: None
    mc_dropout.MCDropout.call = watched(mc_dropout.MCDropout.call)
    made_up.write_cohort()
    told_ = {}
    for name, fields in settings["runs"].items():
        run = runs.create_run(RunConfig(**fields), name)
        parts.clear()
        code = training.run_folder(run.folder, lambda: False)
        told_[name] = {"code": code, "message": run.status["message"], "parts": sorted(parts)}
    print(
        json.dumps(
            {"heavy": sorted(name for name in ("tensorflow", "jax", "torch") if sys.modules.get(name)), "runs": told_}
        )
    )


if __name__ == "__main__":
    main()
