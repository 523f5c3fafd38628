"""What ``python -m core runs …`` does; without an action it lists."""

import argparse


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


def add_to(parser: argparse.ArgumentParser, parser_class: type[argparse.ArgumentParser]) -> None:
    """Give the parser of ``runs`` its actions; each is a function ``(options, progress)``."""
    parser.set_defaults(act=list_)
    actions = parser.add_subparsers(dest="action", parser_class=parser_class, metavar="ACTION")
    actions.add_parser("list", help=list_.__doc__).set_defaults(act=list_)
