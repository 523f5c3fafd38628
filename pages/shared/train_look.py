"""One look before the start: what would be learnt from what, what leaks, how long it takes, whether it can work."""

from collections.abc import Callable

import streamlit as st

from core import cohort, jobs, leaks, pace_measure, preflight, runs, view_samples
from core.config import RunConfig
from core.errors import CoreError
from core.pace import spelled
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
    long = _long(made, config, seen) if not seen.refusals else {}
    found = [*seen.refusals, *(task.error for name, task in long.items() if name == "weights" and task.error)]
    measured = pace_measure.known(config)
    estimate = _estimate(made, config, seen, measured, long) if measured else None
    found += filter(None, [estimate and preflight.cost_refusal(estimate)])
    st.markdown("#### Before the start")
    if pending := {name: _key(made, config, seen, name) for name, task in long.items() if task and not task.finished}:
        _wait(pending)
    for sentence in found:
        st.error(sentence, icon=":material/block:")
    if not wide.empty:
        st.dataframe(wide, height="content")
        st.caption(_dropped(seen))
    for sentence in (*seen.missing, *seen.warnings, *_twin(config)):
        st.warning(sentence, icon=":material/info:")
    clear = False if found else _leaks(seen, long.get("leaks"))
    _cost(config, seen, measured, estimate, long.get("pace"))
    if "samples" in long:
        _samples(config, long["samples"], _key(made, config, seen, "samples"))
    waiting = "weights" in long and not long["weights"].finished
    return clear and not found and not waiting


def start(made: cohort.Cohort, config: RunConfig) -> runs.Run:
    """Queue the run, with what was found and why that was dismissed."""
    seen, _ = cached.preflight_look(made, config)
    task = tasks.get(_key(made, config, seen, "leaks"))
    return jobs.submit(config, found=task.result if task else None, dismissed=_reason(seen))


# What takes longer ----------------------------------------------------------------------------------------


def _key(made: cohort.Cohort, config: RunConfig, seen: preflight.Preflight, name: str) -> tuple:
    """Name a piece of work by what its answer depends on."""
    here = (made.name, made.created)
    return {
        "leaks": ("leaks", *here, seen.split_hash),
        "weights": ("weights", config.backbone, config.weights, config.image_size),
        "pace": ("pace", pace_measure.name_of(config)),
        "samples": (
            "samples", *here, seen.split_hash, config.heads, config.image_size, config.augmentation,
            config.random_state,
        ),
    }[name]  # fmt: skip


def _long(made: cohort.Cohort, config: RunConfig, seen: preflight.Preflight) -> dict[str, tasks.Task | None]:
    """Return the longer pieces of the look by name, each begun if it was not."""
    work: dict[str, Callable] = {
        "samples": lambda report: view_samples.draw_samples(made, config, seen.split),
        "leaks": lambda report: leaks.check(made, seen.split, report),
        "weights": lambda report: preflight.check_weights(config),
        "pace": lambda report: pace_measure.measure(config),
    }
    if pace_measure.known(config):
        del work["pace"]
    answer = {}
    for name, does in work.items():
        key = _key(made, config, seen, name)
        task = tasks.get(key)
        if task is None and (name != "leaks" or len(made.table) <= _COMPARED):
            task = tasks.start(key, does)
        answer[name] = task
    if answer["leaks"] is None and st.button("Compare pictures of the parts", icon=":material/fact_check:"):
        answer["leaks"] = tasks.start(_key(made, config, seen, "leaks"), work["leaks"])
    return answer


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


def _twin(config: RunConfig) -> list[str]:
    same = [runs.read_run(run_id) for run_id, other in cached.run_configs() if other == config]
    return [sentence] if (sentence := preflight.twin(config, same)) else []


def _leaks(seen: preflight.Preflight, task: tasks.Task | None) -> bool:
    """Say what stands on both sides, and let a person dismiss it; returns whether nothing stands in the way."""
    if task is None or not task.finished:
        return False
    if task.error or task.result is None:
        st.error(task.error or "Pictures could not be compared.", icon=":material/block:")
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
    made: cohort.Cohort, config: RunConfig, seen: preflight.Preflight, measured: pace_measure.Measured, long: dict
) -> pace_measure.Estimate:
    samples = long["samples"].result if long.get("samples") else None
    others = [other for _, other in cached.run_configs()]
    work = seen.work(config, samples.read_ms if samples else preflight.READ_MS, others)
    return pace_measure.estimate(config, measured, work)


def _cost(config, seen, measured, estimate, task: tasks.Task | None) -> None:
    if estimate is None:
        if task and task.finished:
            why = task.error or "the measurement ended without an answer."
            st.warning(f"How long it takes is not known: {why}", icon=":material/timer_off:")
        return
    busy = ", while it was busy" if measured.load > 1.5 else ""
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
