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


def compare(options: argparse.Namespace, progress) -> None:
    """Compare finished runs on the test slices that they share; the others with the first."""
    from core import compare_report, run_table, runs
    from core.compare import compare

    found = [runs.read_run(run_id) for run_id in options.runs]
    print(compare_report.text(compare(found, [run_table.read_row(run)["name"] for run in found])))


def add_to(parser: argparse.ArgumentParser, parser_class: type[argparse.ArgumentParser]) -> None:
    """Give the parser of ``runs`` its actions; each is a function ``(options, progress)``."""
    parser.set_defaults(act=list_)
    actions = parser.add_subparsers(dest="action", parser_class=parser_class, metavar="ACTION")
    actions.add_parser("list", help=list_.__doc__).set_defaults(act=list_)
    one = actions.add_parser("compare", help=compare.__doc__)
    one.add_argument("runs", nargs="+", metavar="RUN", help="two to six ids")
    one.set_defaults(act=compare)
