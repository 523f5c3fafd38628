"""What ``python -m core jury …`` does; without an action it lists."""

import argparse
from pathlib import Path

from core.errors import CoreError, InputError

#: Names of the columns of a table of examples.
_KEY, _LABEL = "key", "label"


def list_(options: argparse.Namespace, progress) -> None:
    """List the named juries, with how they did when they were tried."""
    from core.explanations import juries

    found = list(juries.every())
    if not found:
        print("No jury yet. `python -m core jury make NAME --by patient` makes one.")
    for one in found:
        print(f"cannot be used: {one}" if isinstance(one, CoreError) else _line(one))


def _line(made) -> str:
    facts = made.facts
    tried = f"tried on {facts['tried on']}"
    if facts["accuracy"] is not None:
        tried += f": {100 * facts['accuracy']:.1f} % right"
    if facts["accuracy of those"] is not None and made.threshold > 0:
        tried += f", {100 * facts['accuracy of those']:.1f} % of the {100 * facts['kept']:.0f} % it answers"
    return (
        f"{facts['name']:<16}  {facts['model']}  {facts['references']} references of {facts['patients']} patients: "
        f"{facts['classes']}; {facts['chosen']}; vote: {facts['vote']}, margin {facts['threshold']:.3f}; {tried}"
    )


def make(options: argparse.Namespace, progress) -> None:
    """Call a jury: examples from a table, drawn from a cohort's labels, or both; try it, and keep it with the run."""
    from core import cohort, runs
    from core.explanations import juries, jury_making
    from core.publishing import registry

    if not options.examples and not options.by:
        raise InputError("Say whose slices: --from a table with the columns key and label, --by patient, or both.")
    model = registry.find(options.model)
    if options.name in juries.names(model.id) and not options.replace:
        raise InputError(f"{model.id} has a jury {options.name!r}. Take another name, or say --replace.")
    name = options.cohort or ("phantom" if model.id == runs.SHIPPED else runs.read_run(model.id).config.cohort)
    picked = _examples(options.examples) if options.examples else {}
    made = jury_making.make(
        options.name, model, cohort.read(name), picked, by=options.by, head=options.head, size=options.size,
        random_state=options.seed, vote=options.vote, k=options.k, target=options.target,
        report=progress.counted("Looking at slices"),
    )  # fmt: skip
    juries.save(made)
    print(_line(made))
    if made.trial.how and not made.reached:
        print(f"No margin reaches {100 * options.target:g} % right, so it never abstains.")
    print(f"`python -m core classify PATH --jury {made.name} --model {made.model}` asks it.")


def _examples(path: Path) -> dict[str, str]:
    """Read which slice is an example of what: columns ``key`` (SOPInstanceUID:frame) and ``label``."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype="str", encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no CSV table"
        raise InputError(f"{path.name} cannot be read ({reason}). It needs the columns key and label.") from None
    if {"SOPInstanceUID", "frame"} <= set(table) and _KEY not in table:
        table[_KEY] = table["SOPInstanceUID"] + ":" + table["frame"]
    if not {_KEY, _LABEL} <= set(table):
        raise InputError(
            f"{path.name} needs the columns key (or SOPInstanceUID and frame) and label; it has {', '.join(table)}."
        )
    table = table.dropna(subset=[_KEY, _LABEL])
    twice = table[_KEY][table.duplicated(_KEY)]
    if len(twice):
        raise InputError(f"{path.name} names slice {twice.iloc[0]!r} more than once. Keep one line a slice.")
    return dict(zip(table[_KEY], table[_LABEL], strict=True))


def remove(options: argparse.Namespace, progress) -> None:
    """Delete a jury."""
    from core.explanations import juries
    from core.publishing import registry

    model = registry.find(options.model).id
    juries.remove(options.name, model)
    print(f"Jury {options.name} of {model} is deleted.")


def add_to(parser: argparse.ArgumentParser, parser_class: type[argparse.ArgumentParser]) -> None:
    """Give the parser of ``jury`` its actions; each is a function ``(options, progress)``."""
    parser.set_defaults(act=list_)
    actions = parser.add_subparsers(dest="action", parser_class=parser_class, metavar="ACTION")
    for act in (list_, make, remove):
        sub = actions.add_parser(act.__name__.rstrip("_"), help=act.__doc__, description=act.__doc__)
        sub.set_defaults(act=act)
    one = actions.choices["make"]
    one.add_argument("name", help="letters, digits, - and _")
    one.add_argument("--cohort", help="where the slices are; the run's own by default")
    one.add_argument(
        "--from", dest="examples", type=Path, metavar="CSV", help="examples, a row a slice, with the columns key (or "
        "SOPInstanceUID and frame) and label; a label may be a new word",
    )  # fmt: skip
    one.add_argument(
        "--by", choices=("patient", "medoids", "own"), help="also draw references from the cohort's labels, spread "
        "over patients or the most typical; own: those that a Siamese run has anyway",
    )  # fmt: skip
    one.add_argument("--head", default="sequence", help="which labels: plane, sequence or plane-sequence")
    one.add_argument("--size", type=int, default=5, help="references of each class that are drawn; 5 by default")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--vote", default="mean", help="mean, majority or nearest")
    one.add_argument("--k", type=int, default=5, help="references that count in a majority")
    one.add_argument("--target", type=float, default=0.95, help="accuracy asked of its answers; below, it abstains")
    one.add_argument("--replace", action="store_true", help="replace a jury of that name")
    for name in ("make", "remove"):
        actions.choices[name].add_argument("--model", help="shipped, or a run's id; the current model by default")
    actions.choices["remove"].add_argument("name")
