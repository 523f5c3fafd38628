"""What ``python -m core runs …`` does; without an action it lists."""

import argparse
from pathlib import Path


def list_(options: argparse.Namespace, progress) -> None:
    """List all runs, newest first."""
    from core import runs
    from core.comparing import run_notes

    found = runs.list_runs()
    if not found:
        print("No run yet. `python -m core train --kind transfer` starts one.")
    for run in found:
        status, scores = run.status, run.scores()
        accuracy = f"accuracy {scores['accuracy']:.3f} on {scores['split']}" if scores.get("accuracy") else ""
        words = (run.id, status["state"], run.config.kind, " and ".join(run.config.heads), run.config.cohort, accuracy)
        tags = " ".join(f"#{tag}" for tag in run_notes.read(run).tags)
        print("  ".join(f"{word:<12}" for word in (*words, tags)).rstrip())


def show(options: argparse.Namespace, progress) -> None:
    """Say all that is known of a run: state, place in the queue, notes, configuration, the log's last lines."""
    from core import runs
    from core.cohorts.pace import spelled
    from core.comparing import run_notes
    from core.queueing import queue_plan

    run = runs.read_run(options.run)
    status, notes = run.status, run_notes.read(run)
    place = next((place for place in queue_plan.plan() if place.run.id == run.id), None)
    facts = {
        "name": run_notes.title(run), "state": status["state"], "progress": f"{100 * status['progress']:.0f} %",
        "message": status["message"], "created": status.get("created", ""), "tags": ", ".join(notes.tags),
        "note": notes.note,
    }  # fmt: skip
    if place and place.position:
        start = "not known yet" if place.starts_in_s is None else f"in about {spelled(place.starts_in_s)}"
        facts |= {"position": str(place.position), "starts": start}
    elif place and place.left_s is not None:
        facts["time left"] = f"about {spelled(place.left_s)}"
    for name, value in facts.items():
        if value:
            print(f"{name + ':':<11}{value}")
    print(run.config.to_json())
    if options.log:
        print(run.log_tail(options.log))


def cancel(options: argparse.Namespace, progress) -> None:
    """Cancel a queued or a running run."""
    from core import jobs

    jobs.cancel(options.run)
    print(f"Run {options.run} is cancelled.")


def resume(options: argparse.Namespace, progress) -> None:
    """Queue a run that ended without success again; it goes on from its last epoch that was kept."""
    from core import jobs

    jobs.resubmit(options.run, resume=True)
    print(f"Run {options.run} is queued, to go on where it ended.")


def retry(options: argparse.Namespace, progress) -> None:
    """Queue a run that ended without success again, from its beginning."""
    from core import jobs

    jobs.resubmit(options.run)
    print(f"Run {options.run} is queued, from its beginning.")


def rename(options: argparse.Namespace, progress) -> None:
    """Give a run another name; its id stays."""
    from core import runs
    from core.comparing import run_notes

    run_notes.rename(runs.read_run(options.run), options.name)
    print(f"Run {options.run} is called {run_notes.title(runs.read_run(options.run))}.")


def tag(options: argparse.Namespace, progress) -> None:
    """Replace a run's tags; without any, remove them."""
    from core import runs
    from core.comparing import run_notes

    run = runs.read_run(options.run)
    run_notes.tag(run, options.tags)
    print(f"Run {run.id} has the tags: {', '.join(run_notes.read(run).tags) or 'none'}.")


def note(options: argparse.Namespace, progress) -> None:
    """Replace a run's note; an empty one removes it."""
    from core import runs
    from core.comparing import run_notes

    run_notes.annotate(runs.read_run(options.run), options.text)
    print(f"Run {options.run} has {'a note' if options.text.strip() else 'no note'}.")


def trash(options: argparse.Namespace, progress) -> None:
    """Move a run that has ended to the trash; without one, list the trash."""
    from core.comparing import run_notes

    if not options.run:
        print("\n".join(run.id for run in run_notes.list_trash()) or "The trash is empty.")
        return
    run_notes.trash(options.run)
    print(f"Run {options.run} is in the trash; `python -m core runs restore {options.run}` puts it back.")


def restore(options: argparse.Namespace, progress) -> None:
    """Put a run of the trash back."""
    from core.comparing import run_notes

    run_notes.restore(options.run)
    print(f"Run {options.run} is back.")


def delete(options: argparse.Namespace, progress) -> None:
    """Delete a run of the trash for good, with all its files."""
    from core.comparing import run_notes

    run_notes.delete(options.run)
    print(f"Run {options.run} is deleted.")


def compare(options: argparse.Namespace, progress) -> None:
    """Compare finished runs on the test slices that they share; the others with the first."""
    from core import runs
    from core.comparing import compare_report, run_notes
    from core.comparing.compare import compare

    found = [runs.read_run(run_id) for run_id in options.runs]
    print(compare_report.text(compare(found, [run_notes.title(run) for run in found])))


def promote(options: argparse.Namespace, progress) -> None:
    """Make a run the model that Study and classify use; "shipped" goes back to the shipped one."""
    from core.publishing import registry

    model = registry.promote(options.run)
    print(f"Study and classify now ask {model.name} ({model.id}, {model.sha256[:12]}).")


def card(options: argparse.Namespace, progress) -> None:
    """Print a model's card as Markdown; the current model's without RUN."""
    from core.publishing import model_card

    print(model_card.markdown(*model_card.of(options.run)))


def export(options: argparse.Namespace, progress) -> None:
    """Pack a run's model, card, configuration and scores into one zip; no path and no patient goes along."""
    from core import runs
    from core.publishing import model_zip

    data = model_zip.export(runs.read_run(options.run), options.predictions, options.pictures)
    _write(options.out, data)
    print(f"{options.run} is in {options.out} ({len(data) / 1e6:.1f} MB). `runs import` makes a run of it elsewhere.")


def import_(options: argparse.Namespace, progress) -> None:
    """Check an exported model in a process with little memory and time, and make a run of it."""
    from core.publishing import model_zip

    run = model_zip.admit(options.file, lambda done, total: progress(done / total, "Checking the model"))
    print(f"Imported as run {run.id}. `runs promote {run.id}` makes it the model.")


def projector(options: argparse.Namespace, progress) -> None:
    """Write a run's embeddings for the Embedding Projector (vectors.tsv, metadata.tsv, sprite.png)."""
    from core import runs
    from core.publishing import exports

    names = exports.write_projector(runs.read_run(options.run), options.out)
    print(f"{', '.join(names)} in {options.out}: load them at projector.tensorflow.org, or tensorboard --logdir.")


def mlflow(options: argparse.Namespace, progress) -> None:
    """Log a run to MLflow (needs the extra "mlflow")."""
    from core import runs
    from core.publishing import exports

    name = exports.log_to_mlflow(runs.read_run(options.run), options.uri, options.experiment)
    print(f"Run {options.run} is run {name} of the MLflow experiment {options.experiment}.")


def _write(path: Path, data: bytes) -> None:
    from core.cohorts.slice_table import replaced
    from core.errors import InputError

    try:
        with replaced(path) as fresh:
            fresh.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from None


def add_to(parser: argparse.ArgumentParser, parser_class: type[argparse.ArgumentParser]) -> None:
    """Give the parser of ``runs`` its actions; each is a function ``(options, progress)``."""
    parser.set_defaults(act=list_)
    actions = parser.add_subparsers(dest="action", parser_class=parser_class, metavar="ACTION")

    def action(act) -> argparse.ArgumentParser:
        name = act.__name__.rstrip("_")
        sub = actions.add_parser(name, help=act.__doc__, description=act.__doc__)
        sub.set_defaults(act=act)
        return sub

    action(list_)
    for act in (show, cancel, resume, retry, rename, tag, note, restore, delete):
        action(act).add_argument("run", help="a run's id")
    named = actions.choices
    named["show"].add_argument("--log", type=int, default=0, metavar="LINES", help="also the last lines of its log")
    named["rename"].add_argument("name")
    named["tag"].add_argument("tags", nargs="*")
    named["note"].add_argument("text")
    action(trash).add_argument("run", nargs="?", help="a run's id")
    action(compare).add_argument("runs", nargs="+", metavar="RUN", help="two to six ids")
    action(promote).add_argument("run", help="shipped, or a run's id")
    action(card).add_argument("run", nargs="?", help="shipped, or a run's id")
    for act in (export, projector, mlflow):
        action(act).add_argument("run", help="a run's id")
    named["export"].add_argument("--out", type=Path, required=True, help="the zip")
    named["export"].add_argument(
        "--predictions", action="store_true", help="also what it said of each slice, with pseudonyms"
    )
    named["export"].add_argument("--pictures", action="store_true", help="keep the pictures of a Siamese run's jury")
    named["projector"].add_argument("--out", type=Path, required=True, help="a folder")
    named["mlflow"].add_argument("--uri", required=True, help="of the tracking server, or sqlite:///FILE")
    named["mlflow"].add_argument("--experiment", default="slicescope")
    action(import_).add_argument("file", type=Path, help="a zip that `runs export` wrote")
