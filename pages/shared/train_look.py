"""One look before the start: what would be learnt from what, what leaks, how long it takes, whether it can work."""

from collections.abc import Callable

import streamlit as st

from core import cohort, jobs, runs
from core.cohorts import leaks
from core.cohorts.pace import spelled
from core.config import RunConfig
from core.errors import CoreError
from core.learning import pace_measure, preflight, view_samples
from pages.shared import cached, tasks, widgets

#: Slices up to which pictures are compared without being asked to.
_COMPARED = 20_000
#: Letters of a reason that says something.
_REASON = 4
_PENDING = {
    "leaks": "Comparing the pictures of the three parts", "weights": "Looking for the weights",
    "pace": "Measuring how fast this machine trains this network", "samples": "Changing some slices",
}  # fmt: skip
_STAGES = {
    "start": "starting Keras", "reading": "reading slices", "features": "features of every view", "head": "the head",
    "whole": "the whole network", "fine-tuning": "fine-tuning", "evaluation": "evaluation",
}  # fmt: skip


def draw(made: cohort.Cohort, config: RunConfig) -> bool:
    """Show what this run would be made from; what takes longer comes when it is there.

    Returns
    -------
    bool
        Whether the run may be started.
    """
    try:
        seen, wide = cached.preflight_look(made, config)
    except CoreError as error:
        st.error(str(error), icon=":material/block:")
        return False
    st.markdown("#### Before the start")
    measured = pace_measure.known(config)
    keys = _keys(made, config, seen, measured)
    long = {} if seen.refusals else _long(keys, _work(made, config, seen, measured))
    estimate = _estimate(config, seen, measured, long) if measured else None
    if pending := {name: keys[name] for name, task in long.items() if not task.finished}:
        _wait(pending)
    refused = _refusals(seen, estimate, long.get("weights"), keys["weights"])
    if not wide.empty:
        st.dataframe(wide, height="content")
        st.caption(_dropped(seen))
    for sentence in (*seen.missing, *seen.warnings, *_twin(config)):
        st.warning(sentence, icon=":material/info:")
    clear = not refused and _leaks(made, seen, long.get("leaks"), keys["leaks"])
    _cost(config, seen, measured, estimate, long.get("pace"))
    if "samples" in long:
        _samples(config, long["samples"], keys["samples"])
    return clear and long["weights"].finished


def start(made: cohort.Cohort, config: RunConfig, runner: str) -> runs.Run:
    """Queue the run, with what was found and why that was dismissed."""
    return jobs.submit(config, runner=runner, **answers(made, config))


def answers(made: cohort.Cohort, config: RunConfig) -> dict:
    """Return what was found to leak, and why that was dismissed, as `core.jobs.submit` takes them."""
    seen, _ = cached.preflight_look(made, config)
    task = tasks.get(_keys(made, config, seen, None)["leaks"])
    return {"found": task.result if task else None, "dismissed": _reason(seen)}


# What takes longer ----------------------------------------------------------------------------------------


def _keys(
    made: cohort.Cohort, config: RunConfig, seen: preflight.Preflight, measured: pace_measure.Measured | None
) -> dict[str, tuple]:
    """Name each longer piece of the look by what its answer depends on."""
    here = (made.name, made.created, seen.split_hash)
    return {
        "samples": ("samples", *here, config.heads, config.image_size, config.augmentation, config.random_state),
        "leaks": ("leaks", *here),
        "weights": ("weights", config.backbone, config.image_size, config.weights, *cached.weights_stamp(config)),
        "pace": ("pace", pace_measure.name_of(config), measured and measured.load),
    }


def _work(
    made: cohort.Cohort, config: RunConfig, seen: preflight.Preflight, measured: pace_measure.Measured | None
) -> dict[str, Callable]:
    """Return what is to be done by itself, by name."""
    work = {
        "samples": lambda report: view_samples.draw_samples(made, config, seen.split),
        "weights": lambda report: preflight.check_weights(config),
    }
    if len(made.table) <= _COMPARED:
        work["leaks"] = lambda report: leaks.check(made, seen.split, report)
    if measured is None or pace_measure.worth_repeating(measured):
        work["pace"] = lambda report: pace_measure.measure(config)
    return work


def _long(keys: dict[str, tuple], work: dict[str, Callable]) -> dict[str, tasks.Task]:
    """Return the tasks that there are, each begun if it was not."""
    found = {name: tasks.get(key) for name, key in keys.items()}
    begun = {name: tasks.start(keys[name], does) for name, does in work.items() if found[name] is None}
    return {name: task for name, task in {**found, **begun}.items() if task is not None}


@st.fragment(run_every=0.7)
def _wait(pending: dict[str, tuple]) -> None:
    """Say what is still being found out, and redraw the page when one of these has ended."""
    found = {name: tasks.get(key) for name, key in pending.items()}
    if any(task is None or task.finished for task in found.values()):
        st.rerun()
    for name, task in found.items():
        done = f": {task.done:,} of {task.total:,} slices" if task.total else " …"
        st.caption(f":material/hourglass_top: {_PENDING[name]}{done}")


# What is shown --------------------------------------------------------------------------------------------


def _dropped(seen: preflight.Preflight) -> str:
    said = ["Slices · patients of each class."]
    if seen.unlabelled:
        said.append(f"{seen.unlabelled:,} slices without an answer are dropped.")
    if seen.left_out:
        said.append(f"{seen.left_out:,} training slices are left out by the share of patients.")
    return " ".join(said)


def _refusals(
    seen: preflight.Preflight, estimate: pace_measure.Estimate | None, weights: tasks.Task | None, key: tuple
) -> bool:
    """Say why the launch cannot work; returns whether it cannot."""
    sentences = [*seen.refusals, *filter(None, [estimate and preflight.cost_refusal(estimate)])]
    for sentence in sentences:
        st.error(sentence, icon=":material/block:")
    failed = bool(weights and weights.error)
    if failed:
        st.error(weights.error, icon=":material/block:")
        if st.button("Look again", icon=":material/refresh:"):
            tasks.forget(key)
            st.rerun()
    return bool(sentences) or failed


def _twin(config: RunConfig) -> list[str]:
    same = [runs.read_run(run_id) for run_id, other in cached.run_configs() if other == config]
    return [sentence] if (sentence := preflight.twin(config, same)) else []


def _leaks(made: cohort.Cohort, seen: preflight.Preflight, task: tasks.Task | None, key: tuple) -> bool:
    """Say what stands on both sides, and let a person dismiss it; returns whether nothing stands in the way."""
    if task is not None and not task.finished:
        return False
    if task is None or task.result is None:
        if task is not None:
            st.error(task.error or "Pictures were not compared.", icon=":material/block:")
        st.caption(f"The pictures of {len(made.table):,} slices have to be compared before the start.")
        if st.button("Compare the pictures of the three parts", icon=":material/fact_check:"):
            tasks.start(key, lambda report: leaks.check(made, seen.split, report))
            st.rerun()
        return False
    alarms = preflight.alarms(seen, task.result)
    if not alarms:
        st.caption(
            f":material/verified: Nothing stands on both sides: no patient, and none of {task.result.compared:,} "
            "pictures, equal or nearly so."
        )
        return True
    with st.container(border=True):
        st.error(f"**This split leaks.** {' '.join(alarms)}", icon=":material/warning:")
        st.checkbox("Start all the same", key=f"dismiss-{seen.split_hash}")
        st.text_input(
            "Why it does not matter", key=f"why-{seen.split_hash}", max_chars=200,
            placeholder="this is written into the run and onto its card",
        )  # fmt: skip
    return bool(_reason(seen))


def _reason(seen: preflight.Preflight) -> str:
    """Return why a person has dismissed the alarm; empty while they have not."""
    reason = st.session_state.get(f"why-{seen.split_hash}", "").strip()
    return reason if st.session_state.get(f"dismiss-{seen.split_hash}") and len(reason) >= _REASON else ""


def _estimate(
    config: RunConfig, seen: preflight.Preflight, measured: pace_measure.Measured, long: dict[str, tasks.Task]
) -> pace_measure.Estimate:
    samples = long["samples"].result if long.get("samples") else None
    work = seen.work(config, samples.read_ms if samples else preflight.READ_MS, cached.run_configs())
    return pace_measure.estimate(config, measured, work)


def _cost(
    config: RunConfig, seen: preflight.Preflight, measured: pace_measure.Measured | None,
    estimate: pace_measure.Estimate | None, task: tasks.Task | None,
) -> None:  # fmt: skip
    if estimate is None:
        if task and task.finished:
            why = task.error or "the measurement ended without an answer."
            st.warning(f"How long it takes is not known: {why}", icon=":material/timer_off:")
        return
    busy = ", while it was busy" if measured.busy else ""
    most = "at most " if config.early_stopping else "about "
    stages = [f"{_STAGES[name]} {spelled(seconds)}" for name, seconds in estimate.seconds.items() if seconds >= 1]
    st.html(
        widgets.facts({
            "Time": f"{most}{spelled(estimate.total_s)} (measured on this machine{busy})",
            "of which": ", ".join(stages),
            "Memory": f"about {estimate.memory_mb / 1024:.1f} GiB",
            "Device": f"{seen.device}{', half precision' if config.mixed_precision else ''}",
        })
    )  # fmt: skip


def _samples(config: RunConfig, task: tasks.Task, key: tuple) -> None:
    if not config.augment_views:
        st.caption("No changed views: every training slice is shown to the network as it is.")
        return
    if task.finished and task.result is None:
        st.warning(task.error or "No slices could be changed.", icon=":material/image:")
    if task.result is None:
        return
    made = task.result
    columns = "".join(f"<span>{widgets.escape(word)}</span>" for word in made.words)
    address = cached.sample_strip(key, made)
    st.html(
        f'<div class="strip" style="--n:{len(made.words)}"><div>{columns}</div>'
        f'<img src="{address}" alt="Slices above, changed views of them below"></div>'
    )
    st.caption("Training slices above, and below each how a changed view of it may look.")
