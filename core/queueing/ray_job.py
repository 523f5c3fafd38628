"""The far end of a run on Ray: ``python -m core.queueing.ray_job RUN_ID``, in the folder that `ray_runner` packed.

Ray keeps a job's printed words in its log folder and serves what lies there; so the run folder is shown there, too, and
whoever follows fetches it file by file, also after this process was killed. Pictures are deleted when it ends.
"""

import argparse
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

#: Where the packed run and cohort lie, and what the run folder is called in Ray's log folder.
CARRIED, SHOWN = Path("carried"), "slicescope-{}"


def main() -> int:
    """Train and evaluate what travelled here; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.queueing.ray_job", description=__doc__.splitlines()[0])
    parser.add_argument("run_id")
    run_id = parser.parse_args().run_id
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    logs = _log_folder()
    home = logs.parent / "slicescope"
    workspace = home / run_id
    # Features are shared by all runs of this cluster's session, and each run has a workspace of its own.
    (home / "features").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir()
    (workspace / "features").symlink_to(home / "features")
    os.environ["SLICESCOPE_WORKSPACE"] = str(workspace)
    folder = workspace / "runs" / run_id
    shutil.copytree(CARRIED / "run", folder)
    shown = logs / SHOWN.format(run_id)
    shown.unlink(missing_ok=True)
    shown.symlink_to(folder)
    try:
        from core import training
        from core.queueing import carried

        carried.unpack(CARRIED / "cohort")
        return training.run_folder(folder, stop.is_set)
    finally:
        shutil.rmtree(workspace / "cohorts", ignore_errors=True)
        shutil.rmtree(workspace / "private", ignore_errors=True)
        shutil.rmtree(CARRIED, ignore_errors=True)


def _log_folder() -> Path:
    """Find Ray's log folder: it is where this job's own output goes."""
    place = Path("/proc/self/fd/1").readlink()
    if not place.is_file():
        sys.exit("slicescope: this is started by Ray Jobs, which sends its output to a file; here it goes elsewhere.")
    return place.parent


if __name__ == "__main__":
    sys.exit(main())
