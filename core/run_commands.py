"""What ``python -m core runs …`` does; without an action it lists."""

import argparse
from pathlib import Path


def list_(options: argparse.Namespace, progress) -> None:
    """List all runs, newest first."""
    from core import runs

    found = runs.list_runs()
    if not found:
        print("No run yet. `python -m core train --kind transfer` starts one.")
    for run in found:
        status, scores = run.status, run.scores()
        accuracy = f"accuracy {scores['accuracy']:.3f} on {scores['split']}" if scores.get("accuracy") else ""
        words = (run.id, status["state"], run.config.kind, " and ".join(run.config.heads), run.config.cohort, accuracy)
        print("  ".join(f"{word:<12}" for word in words).rstrip())


def promote(options: argparse.Namespace, progress) -> None:
    """Make a run the model that Study and classify use; "shipped" goes back to the shipped one."""
    from core import registry

    model = registry.promote(options.run)
    print(f"Study and classify now ask {model.name} ({model.id}, {model.sha256[:12]}).")


def card(options: argparse.Namespace, progress) -> None:
    """Print a model's card as Markdown; the current model's without RUN."""
    from core import model_card

    print(model_card.markdown(*model_card.of(options.run)))


def export(options: argparse.Namespace, progress) -> None:
    """Pack a run's model, card, configuration and scores into one zip; no path and no patient goes along."""
    from core import model_zip, runs

    data = model_zip.export(runs.read_run(options.run), options.predictions, options.pictures)
    _write(options.out, data)
    print(f"{options.run} is in {options.out} ({len(data) / 1e6:.1f} MB). `runs import` makes a run of it elsewhere.")


def import_(options: argparse.Namespace, progress) -> None:
    """Check an exported model in a process with little memory and time, and make a run of it."""
    from core import model_zip

    run = model_zip.admit(options.file, lambda done, total: progress(done / total, "Checking the model"))
    print(f"Imported as run {run.id}. `runs promote {run.id}` makes it the model.")


def projector(options: argparse.Namespace, progress) -> None:
    """Write a run's embeddings for the Embedding Projector (vectors.tsv, metadata.tsv, sprite.png)."""
    from core import exports, runs

    names = exports.write_projector(runs.read_run(options.run), options.out)
    print(f"{', '.join(names)} in {options.out}: load them at projector.tensorflow.org, or tensorboard --logdir.")


def mlflow(options: argparse.Namespace, progress) -> None:
    """Log a run to MLflow (needs the extra "mlflow")."""
    from core import exports, runs

    name = exports.log_to_mlflow(runs.read_run(options.run), options.uri, options.experiment)
    print(f"Run {options.run} is run {name} of the MLflow experiment {options.experiment}.")


def _write(path: Path, data: bytes) -> None:
    from core.errors import InputError
    from core.slice_table import replaced

    try:
        with replaced(path) as fresh:
            fresh.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from None


def add_to(parser: argparse.ArgumentParser, parser_class: type[argparse.ArgumentParser]) -> None:
    """Give the parser of ``runs`` its actions; each is a function ``(options, progress)``."""
    parser.set_defaults(act=list_)
    actions = parser.add_subparsers(dest="action", parser_class=parser_class, metavar="ACTION")
    actions.add_parser("list", help=list_.__doc__).set_defaults(act=list_)

    one = actions.add_parser("promote", help=promote.__doc__)
    one.set_defaults(act=promote)
    one.add_argument("run", help="shipped, or a run's id")

    one = actions.add_parser("card", help=card.__doc__)
    one.set_defaults(act=card)
    one.add_argument("run", nargs="?", help="shipped, or a run's id")

    one = actions.add_parser("export", help=export.__doc__)
    one.set_defaults(act=export)
    one.add_argument("run", help="a run's id")
    one.add_argument("--out", type=Path, required=True, help="the zip")
    one.add_argument("--predictions", action="store_true", help="also what it said of each slice, with pseudonyms")
    one.add_argument("--pictures", action="store_true", help="keep the pictures of a Siamese run's jury")

    one = actions.add_parser("import", help=import_.__doc__)
    one.set_defaults(act=import_)
    one.add_argument("file", type=Path, help="a zip that `runs export` wrote")

    one = actions.add_parser("projector", help=projector.__doc__)
    one.set_defaults(act=projector)
    one.add_argument("run", help="a run's id")
    one.add_argument("--out", type=Path, required=True, help="a folder")

    one = actions.add_parser("mlflow", help=mlflow.__doc__)
    one.set_defaults(act=mlflow)
    one.add_argument("run", help="a run's id")
    one.add_argument("--uri", required=True, help="of the tracking server, or sqlite:///FILE")
    one.add_argument("--experiment", default="slicescope")
