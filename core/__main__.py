"""The command line: ``python -m core COMMAND``, the same functions as the pages.

Exit status 0, or 2 with one line on standard error that says what is wrong and what to do; 130 when interrupted.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from core.cohorts.pace import Pace
from core.commands import jury_commands, run_commands
from core.config import CHOICES, RunConfig
from core.errors import CoreError, InputError
from core.explanations.question import METHOD_WORDS, Question
from core.learning import presets
from core.learning.run_words import WORDS
from core.queueing.runners import RUNNERS
from core.vocabulary import NOT_FOR_CLINICAL_USE


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all else here does."""

    def error(self, message: str):
        raise InputError(f"{message}. `{self.prog} --help` lists what there is.")


class _Progress:
    """One line on standard error that is written over; on something that is no terminal, a line now and then."""

    def __init__(self) -> None:
        self._live, self._last, self._width = sys.stderr.isatty(), 0.0, 0

    def __call__(self, share: float, message: str) -> None:
        now = time.monotonic()
        if now - self._last < (0.1 if self._live else 5.0) and share < 1:
            return
        self._last = now
        text = f"{100 * share:3.0f} %  {message}"
        end = "\r" if self._live and share < 1 else "\n"
        print(text.ljust(self._width if self._live else 0), end=end, file=sys.stderr, flush=True)
        self._width = len(text)

    def counted(self, what: str) -> Callable[[int, int], None]:
        """Return a ``report(done, total)`` that says `what` is counted, how fast, and for how long yet."""
        pace = Pace()
        return lambda done, total: self(done / total if total else 1.0, f"{what}: {pace(done, total)}")


def demo(options: argparse.Namespace, progress: _Progress) -> None:
    """Make the phantom cohort, the example study and the shipped model's evaluation; or only DICOM files, elsewhere."""
    from core import demo

    if options.out:
        patients = demo.PATIENTS if options.patients is None else options.patients
        seed = demo.SEED if options.seed is None else options.seed
        n = len(demo.write_files(options.out, patients, seed, progress))
        print(f"{n} phantom series in {options.out}; labels.csv there says what each shows. {NOT_FOR_CLINICAL_USE}")
        return
    if options.quiet_if_ready and demo.ready():
        return
    demo.ensure_ready(progress, options.patients, options.seed)
    print("The phantom cohort, an example study and the shipped model are ready: make app, or streamlit run app.py")
    if options.shortcut:
        from core.explanations import shortcut

        print(shortcut.in_words(shortcut.result() or shortcut.work(progress)))


def index(options: argparse.Namespace, progress: _Progress) -> None:
    """Index a folder, an archive or a file as a cohort of the workspace; write its tables where asked."""
    from core import cohort
    from core.labelling import label_overrides, label_tables

    labels = label_tables.read(options.labels) if options.labels else None
    name = options.name or _cohort_name(options.path)
    made, outcome = label_overrides.index(
        options.path, name, labels, workers=options.workers, report=progress.counted("Reading headers")
    )
    if options.out:
        cohort.write_table(made.table, options.out)
    if options.manifest:
        cohort.export_manifest(made, options.manifest)
    if options.labels_out:
        cohort.write_table(label_overrides.label_table(made), options.labels_out)
    labelled = made.table[["plane", "sequence"]].notna().sum()
    print(
        f"Cohort {name}: {made.n_files} files in, {made.table['path'].nunique()} with {len(made.table)} slices, "
        f"{len(made.rejected)} rejected. Plane known for {labelled['plane']}, sequence for {labelled['sequence']}."
    )
    _print_rejected(made.rejected)
    for sentence in outcome.sentences(labels.name) if outcome else ():
        print(sentence)


def _root(path: Path) -> Path:
    from core.reading import archives

    return archives.root_of(path)


def _cohort_name(path: Path) -> str:
    """A name that cannot be a patient's: only the generic word and a mark of the place."""
    from core.cohorts.pseudonyms import digest

    return f"folder-{digest(str(path.resolve())).hex()[:6]}"


def _print_rejected(rejected) -> None:
    for reason, paths in rejected.groupby("reason", sort=False)["shown_path"]:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        print(f"  rejected: {paths.iloc[0]}{more}: {reason}")


_ROUNDED = ("plane_p", "sequence_p", "t1_family_p", "entropy", "jury_p", "jury_margin")


def classify(options: argparse.Namespace, progress: _Progress) -> None:
    """Label every slice and series from its pixels, and compare with the headers."""
    from core import cohort
    from core.classify import classify

    model, jury = options.model, None
    if options.jury:
        from core.explanations import juries

        found, jury = juries.find(options.jury, model)
        model = found.id
    made = cohort.scan(options.path, "classified", workers=options.workers, report=progress.counted("Reading headers"))
    slices, series, rejected = classify(
        made, model, options.workers, progress.counted("Asking the model about slices"), jury
    )
    shown = dict(zip(made.table["path"], made.table["shown_path"], strict=True))
    slices["path"] = slices["path"].map(shown)
    for answers in (slices, series):
        numbers = answers.columns.intersection(_ROUNDED)
        answers[numbers] = answers[numbers].round(4)
    cohort.write_table(slices, options.out)
    if options.series_out:
        cohort.write_table(series, options.series_out)
    print(f"{len(slices)} slices of {len(series)} series in {options.out}; {len(rejected)} files rejected.")
    if jury:
        print(
            f"Jury {jury.name} of {model} votes for {', '.join(jury.jury.classes)}; "
            f"it abstains on {int(slices['jury_abstains'].sum())} slices."
        )
    _print_rejected(rejected)
    print(NOT_FOR_CLINICAL_USE)


def train(options: argparse.Namespace, progress: _Progress) -> None:
    """Queue a training and follow it to its end."""
    from core import jobs, runs

    config = _config(options)
    for field in sorted(set(_given(options)) & set(config.ignored)):
        print(f"--{field.replace('_', '-')} is not used: {config.ignored[field]}.")
    run = jobs.submit(
        config, runner=options.runner, dismissed=options.dismiss_leaks, report=progress.counted("Comparing pictures")
    )
    print(f"Run {run.id} is {run.status['state']}.", flush=True)
    if options.no_wait:
        return
    try:
        status = _follow(run, progress)
    except KeyboardInterrupt:
        if run.status["state"] in runs.ACTIVE:
            jobs.cancel(run.id)
        raise
    if status["state"] != "done":
        raise InputError(f"Run {run.id} is {status['state']}: {status['message']}")
    print(f"{status['message']}.")
    _print_scores(run)


def _follow(run, progress: _Progress) -> dict:
    """Say how a run goes on until it has ended; returns its last status."""
    from core import runs

    while (status := run.status)["state"] in runs.ACTIVE:
        progress(min(status["progress"], 0.99), status["message"])
        time.sleep(0.5)
    return status


def lesson(options: argparse.Namespace, progress: _Progress) -> None:
    """Train one model several times to see what a split, or more patients, make of it."""
    from core.learning import lesson_report, lesson_results, lessons

    start, judge = {
        "naive": (lessons.start_naive, lesson_results.naive_result),
        "curve": (lessons.start_curve, lesson_results.curve_result),
    }[options.kind_of_lesson]
    report = progress.counted("Comparing pictures")
    begun = start(_config(options), dismissed=options.dismiss_leaks, report=report)
    print(f"Lesson {begun.id} is queued: {', '.join(begun.runs)}.", flush=True)
    if options.no_wait:
        return
    try:
        for member in lessons.members(begun):
            status = _follow(member.run, progress)
            if status["state"] != "done":
                print(f"Run {member.id} is {status['state']}: {status['message']}", flush=True)
    except KeyboardInterrupt:
        lessons.cancel(begun)
        raise
    result = judge(begun)
    if not result:
        raise InputError(f"Lesson {begun.id} has no result: too few of its runs are done. `runs` says why.")
    print(lesson_report.text(begun, result))


def _config(options: argparse.Namespace) -> RunConfig:
    given = _given(options)
    if options.config:
        config = RunConfig.from_json(options.config)
    elif options.kind:
        label = "" if options.kind == "dual" else f" {options.label or RunConfig.label}"
        config = RunConfig(f"{options.kind}{label}", options.kind, "phantom")
    else:
        raise InputError("Say what to train: a CONFIG.json, or --kind with --label and --cohort.")
    if options.preset:
        config = presets.apply(replace(config, kind=options.kind or config.kind), options.preset)
    if options.backbone and options.backbone != config.backbone:
        given = {"weights": presets.usual_weights(options.backbone), **given}
    return replace(config, **given)


def _given(options: argparse.Namespace) -> dict:
    names = {field.name for field in fields(RunConfig)}
    return {name: value for name, value in vars(options).items() if name in names and value is not None}


def _add_fields(parser: argparse.ArgumentParser) -> None:
    """Give a parser an option for every field of `RunConfig`."""
    for field in fields(RunConfig):
        options: dict = {"help": WORDS[field.name][1].replace("%", "%%"), "dest": field.name}
        if field.type is bool:
            options |= {"action": argparse.BooleanOptionalAction, "default": None}
        elif field.name == "preset":
            options["choices"] = tuple(presets.PRESETS)
        elif field.name in CHOICES:
            options["choices"] = CHOICES[field.name]
        elif field.type in (int, float):
            options |= {"type": field.type, "metavar": "N"}
        elif field.name == "fractions":
            options |= {"type": float, "nargs": 3, "metavar": "SHARE", "action": _Tuple}
        else:
            options["metavar"] = field.name.upper()
        parser.add_argument(f"--{field.name.replace('_', '-')}", **options)


class _Tuple(argparse.Action):
    def __call__(self, parser, options, values, option_string=None):
        setattr(options, self.dest, tuple(values))


def _print_scores(run) -> None:
    for head, parts in run.scores().get("heads", {}).items():
        for part, score in parts.items():
            print(
                f"  {head}, {part}: accuracy {score['accuracy']:.3f} (majority class {score['majority']:.3f}) over "
                f"{score['slices']} slices of {score['patients']} patients"
            )


def evaluate(options: argparse.Namespace, progress: _Progress) -> None:
    """Judge a finished run anew, on the labels as they are now; or its model on another cohort, as a run of its own."""
    from core import evaluation, runs
    from core.analysis import elsewhere

    run = runs.read_run(options.run)
    if options.cohort:
        run = elsewhere.judge(run, options.cohort, progress)
    else:
        evaluation.evaluate(run, progress, calibrate=run.id != runs.SHIPPED)
    print(f"Run {run.id} is evaluated.")
    _print_scores(run)


def stress(options: argparse.Namespace, progress: _Progress) -> None:
    """Measure what becomes of a run's answers as slices get worse: noise, blur, JPEG, coarse pixels and others."""
    from core import runs
    from core.analysis import stress

    run = runs.read_run(options.run)
    drawn = stress.work(run, options.slices, options.seed, progress.counted("Changing slices and asking the model"))
    print(f"Run {run.id}, {drawn['slices'].max()} slices of {drawn['patients'].max()} patients, each changed anew:")
    for change in stress.CHANGES:
        print(f"  {change.title}")
        for head in drawn["head"].unique():
            print(f"    {stress.sentence(drawn, head, change)}")


def report(options: argparse.Namespace, progress: _Progress) -> None:
    """Write the whole analysis of a run as one HTML file that needs no network."""
    from core import runs
    from core.analysis import report

    run = runs.read_run(options.run)
    data = report.write(run, options.out, options.pictures)
    shown = " It holds pictures of patients." if options.pictures else ""
    print(f"The report of {run.id} is in {options.out} ({data / 1e6:.1f} MB).{shown}")


def explain(options: argparse.Namespace, progress: _Progress) -> None:
    """Draw image, overlay and heatmap of one slice."""
    from core import bundle, cohort, figures, images, inference
    from core.publishing import registry
    from core.sandbox import get_sandbox

    if options.out.suffix.lower() != ".png":
        raise InputError(f"The figure is written as .png; received {options.out.name!r}. Change the suffix.")
    folder = registry.find(options.run).bundle
    card = bundle.read_card(folder)
    head = options.head or list(card["classes"])[-1]
    if head not in card["classes"]:
        raise InputError(f"--head must be one of {', '.join(card['classes'])}. Received: {head!r}.")
    classes = card["classes"][head]
    for option, name in (("--class", options.target), ("--against", options.against)):
        if name and name not in classes:
            raise InputError(f"{option} must be one of {', '.join(classes)}. Received: {name!r}.")
    table = cohort.scan(options.path, "explained", report=progress.counted("Reading headers")).table
    if table.empty:
        raise InputError(f"{options.path.name} holds no slice that can be read. `python -m core index` says why.")
    first = table[table["SeriesInstanceUID"] == table["SeriesInstanceUID"].iloc[0]].sort_values("image_number")
    if options.slice is not None and not 1 <= options.slice <= len(first):
        raise InputError(f"The first series there has slices 1 to {len(first)}. Received: --slice {options.slice}.")
    row = first.iloc[len(first) // 2 if options.slice is None else options.slice - 1]
    pixels = get_sandbox().pixels(_root(options.path) / row["path"], int(row["frame"]))
    spacing = (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"])
    image, geometry = images.to_model_input(pixels, spacing, card["input_shape"][0])
    # One process for both: nobody waits here for anything else.
    worker = inference.get_explainer()
    proba = worker.predict(folder, image[None]).heads[head][0]
    question = Question(
        head, options.target, options.layer, options.method, options.against, options.passes, options.seed
    )
    maps = worker.explain(folder, image[None], question)
    (shown,) = maps.targets
    if options.against:
        shown = f"{shown} rather than {options.against}"
    said = f"The model says {classes[int(proba.argmax())]}, {100 * proba.max():.0f} %"
    title = f"{row['shown_path']} · slice {row['image_number']} · {head}: {shown} · {METHOD_WORDS[options.method]}"
    if options.passes:
        title += f", {options.passes} passes"
    aspect = spacing[1] / spacing[0] if spacing[0] > 0 and spacing[1] > 0 else 1.0
    try:
        with cohort.replaced(options.out) as fresh:
            figures.explanation_png(
                images.to_display(pixels), images.from_model_grid(maps.heat[0], geometry), title, fresh, said, aspect
            )
    except OSError as error:
        raise InputError(f"{options.out} cannot be written: {error.strerror}. Choose another place.") from None
    nothing = "" if maps.heat.any() else " (nothing speaks for it, so the map is empty)"
    print(f"{said}; drawn for {shown} in {options.out}{nothing}")
    if options.badge:
        print("\n".join(worker.badge(folder, image[None], question)[0].lines()))


def runs(options: argparse.Namespace, progress: _Progress) -> None:
    """List all runs, or look at and change one."""
    options.act(options, progress)


def jury(options: argparse.Namespace, progress: _Progress) -> None:
    """List named juries, or make and remove one: classes of a few example slices, without training."""
    options.act(options, progress)


def idc(options: argparse.Namespace, progress: _Progress) -> None:
    """Search the Imaging Data Commons, or download series of it as a cohort (needs the extra "idc")."""
    from core.commons import idc

    query = idc.Query(**{field.name: getattr(options, field.name) for field in fields(idc.Query)})
    (_idc_search if options.action == "search" else _idc_download)(query, options, progress)


def _idc_search(query, options: argparse.Namespace, progress: _Progress) -> None:
    from core import cohort
    from core.commons import idc

    found = idc.collections(query)
    names = {"collection_id": "collection", "patients": "patients", "series": "series", "slices": "slices",
             "size_gb": "GB", "licence": "licence"}  # fmt: skip
    shown = found[list(names)].rename(columns=names).to_string(index=False, float_format="%.2f")
    print("Nothing in the index fits." if found.empty else shown)
    if query.collection.lower().replace("-", "_") == idc.TCGA_GBM:
        print(idc.about_tcga_gbm())
    if options.out:
        cohort.write_table(idc.series(query), options.out)
        print(f"The series of {query.collection} are in {options.out}.")


def _idc_download(query, options: argparse.Namespace, progress: _Progress) -> None:
    from core.commons import idc, idc_download

    found = idc.series(query)
    licences = ", ".join(sorted(found["licence"].dropna().unique()))
    print(
        f"{len(found):,} series of {found['PatientID'].nunique():,} patients, {found['slices'].sum():,} slices, "
        f"{found['size_mb'].sum() / 1000:.2f} GB. Licence: {licences}",
        flush=True,
    )
    if not options.accept_licence:
        raise InputError(f"Read the licence of {query.collection} ({licences}), then say so with --accept-licence.")
    download = idc_download.submit(options.name, found)
    try:
        while (status := download.status)["state"] == "running":
            progress(min(status["done"] / status["total"], 0.99), idc_download.progress_words(status))
            time.sleep(0.5)
    except KeyboardInterrupt:
        if download.status["state"] == "running":
            idc_download.cancel(options.name)
        raise
    if status["state"] != "done":
        raise InputError(f"Download {options.name} is {status['state']}: {status['message']}")
    print(f"{status['message']}. Sources and licences: {idc.ATTRIBUTION_NAME} in the cohort's folder.")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(prog="python -m core", description=f"Slicescope's command line. {NOT_FOR_CLINICAL_USE}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser, metavar="COMMAND")

    def command(do: Callable[[argparse.Namespace, _Progress], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(do.__name__, help=do.__doc__, description=do.__doc__)
        sub.set_defaults(do=do)
        return sub

    one = command(demo)
    one.add_argument("--out", type=Path, help="write only the DICOM files, into this folder")
    one.add_argument("--patients", type=int, help="how many phantom patients, 12 by default")
    one.add_argument("--seed", type=int, help="the same seed gives the same people")
    one.add_argument(
        "--shortcut", action="store_true", help="also make the demonstration of a model that reads a burned-in letter"
    )
    one.add_argument("--quiet-if-ready", action="store_true", help="say and do nothing when all is there")

    one = command(index)
    one.add_argument("path", type=Path)
    one.add_argument("--name", help="of the cohort in the workspace; made up when not given")
    one.add_argument("--out", type=Path, help="also write the slice table here, .parquet or .csv")
    one.add_argument("--manifest", type=Path, help="also write the original project's mri-images.json here")
    one.add_argument(
        "--labels", type=Path, help="labels and subjects from a table: .csv, .tsv, .parquet, or a mri-images.json"
    )
    one.add_argument("--labels-out", type=Path, help="also write the labels as such a table here, .csv or .parquet")
    one.add_argument("--workers", type=int, default=2)

    one = command(classify)
    one.add_argument("path", type=Path)
    one.add_argument("--out", type=Path, default=Path("slices.csv"), help=".csv or .parquet; slices.csv by default")
    one.add_argument("--series-out", type=Path, help="also write one row a series")
    one.add_argument("--model", help="shipped, or a run's id; the promoted one by default")
    one.add_argument("--jury", metavar="NAME", help="also let this named jury vote; see the command jury")
    one.add_argument("--workers", type=int, default=2)

    one = command(train)
    one.add_argument("config", type=Path, nargs="?", help="a run configuration as JSON; options override its fields")
    _add_fields(one)
    one.add_argument("--dismiss-leaks", default="", metavar="REASON", help="why a split that leaks does not matter")
    one.add_argument("--no-wait", action="store_true", help="queue it and return")
    one.add_argument(
        "--runner", choices=RUNNERS, default=RUNNERS[0],
        help="a process in the queue, inline in this process at once, or the Ray cluster of SLICESCOPE_RAY_ADDRESS",
    )  # fmt: skip

    one = command(lesson)
    one.add_argument(
        "kind_of_lesson", choices=("naive", "curve"), metavar="naive|curve",
        help="naive: dealt by patient and by slice, both asked about people neither has seen; curve: on 10, 25, 50 and "
        "100 %% of the training patients",
    )  # fmt: skip
    one.add_argument("config", type=Path, nargs="?", help="as for train")
    _add_fields(one)
    one.add_argument("--dismiss-leaks", default="", metavar="REASON", help="as for train")
    one.add_argument("--no-wait", action="store_true", help="queue the runs and return")

    one = command(evaluate)
    one.add_argument("run", help="a run's id")
    one.add_argument("--cohort", help="another cohort that its model is judged on")

    one = command(stress)
    one.add_argument("run", help="a run's id")
    one.add_argument("--slices", type=int, default=20, help="of each class at most; 20 by default")
    one.add_argument("--seed", type=int, default=0, help="chooses slices, noise and directions")

    one = command(report)
    one.add_argument("run", help="a run's id")
    one.add_argument("--out", type=Path, required=True, help="the file, .html")
    one.add_argument("--pictures", action="store_true", help="also the worst mistakes as pictures of patients")

    one = command(explain)
    one.add_argument("run", help="shipped, or a run's id")
    one.add_argument("path", type=Path, help="a file or folder; of its first series the middle slice is taken")
    one.add_argument("--out", type=Path, required=True, help="where the figure goes, .png")
    one.add_argument("--slice", type=int, help="which slice of the series, from 1")
    one.add_argument("--head")
    one.add_argument("--class", dest="target", help="the class to explain; the model's answer by default")
    one.add_argument("--layer", help="the model's last convolution by default")
    one.add_argument("--method", default="grad_cam", choices=list(METHOD_WORDS), help="grad_cam by default")
    one.add_argument("--against", help="a second class: the map says why the class rather than this one")
    one.add_argument("--passes", type=int, default=0, help="draw the mean map of so many passes with dropout on")
    one.add_argument("--seed", type=int, default=0, help="of dropout, and of the noise of smooth_grad")
    one.add_argument("--badge", action="store_true", help="also say whether the map may be believed")

    run_commands.add_to(command(runs), _Parser)
    jury_commands.add_to(command(jury), _Parser)

    actions = command(idc).add_subparsers(dest="action", required=True, parser_class=_Parser, metavar="search|download")
    search = actions.add_parser("search", help="list collections that fit")
    search.add_argument("--collection", default="", help="part of its id or name; its id, with --out")
    search.add_argument("--out", type=Path, help="also write the series of one collection here, .csv or .parquet")
    download = actions.add_parser("download", help="fetch series of a collection; again, to resume or to add")
    download.add_argument("collection", help="its id, for example remind")
    download.add_argument("--name", required=True, help="of the cohort in the workspace")
    download.add_argument("--accept-licence", action="store_true", help="you have read the licence and keep to it")
    for one in (search, download):
        one.add_argument("--modality", default="MR")
        one.add_argument("--body-part", default="", help="part of the body part, or of where the tumours are")
        one.add_argument("--words", default="", help="all in the series' description; -word: not in it")
        one.add_argument("--patients", type=int, default=0, help="only so many, of each collection")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        options = build_parser().parse_args(arguments)
        options.do(options, _Progress())
    except CoreError as error:
        print(re.sub(r"\s+", " ", f"slicescope: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("slicescope: interrupted; nothing is half written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
