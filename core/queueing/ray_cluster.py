"""What is asked of a Ray cluster, in the words of a run; the only place that imports Ray."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CoreError, RunnerUnavailable
from core.queueing.ray_job import SHOWN

if TYPE_CHECKING:
    import requests

#: Seconds that one answer may take.
_TIMEOUT_S = 30


class Silent(CoreError):
    """The cluster does not answer; another time it may."""


class Gone(CoreError):
    """The cluster does not know the job."""


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes
    ----------
    ended : bool
    message : str
        Ray's words.
    """

    ended: bool
    message: str


class Cluster:
    """A Ray cluster's job service.

    Parameters
    ----------
    address : str
        Of its dashboard, for example ``http://gpu-box:8265``.

    Raises
    ------
    Silent
        When it does not answer.
    RunnerUnavailable
        When it refuses the token, or is no Ray that takes jobs.
    """

    def __init__(self, address: str):
        from ray.job_submission import JobSubmissionClient

        self.address = address if "://" in address else f"http://{address}"
        with _spoken():
            self._client = JobSubmissionClient(self.address)

    def submit(self, job: str, command: str, folder: Path, environment: dict[str, str], gpus: int) -> None:
        """Send a folder, and queue a command that runs in it.

        Raises
        ------
        RunnerUnavailable
            When the folder is larger than Ray takes.
        """
        with _spoken():
            self._client.submit_job(
                submission_id=job,
                entrypoint=command,
                runtime_env={"working_dir": str(folder), "env_vars": environment},
                entrypoint_num_gpus=gpus or None,
            )

    def knows(self, job: str) -> bool:
        """Whether the cluster knows a job."""
        try:
            self.state(job)
        except Gone:
            return False
        return True

    def state(self, job: str) -> JobState:
        """Tell how a job stands."""
        with _spoken():
            info = self._client.get_job_info(job)
        return JobState(info.status.is_terminal(), str(info.message or info.status))

    def stop(self, job: str) -> bool:
        """Ask a job to end; Ray kills it when it has not after three seconds."""
        with _spoken():
            self._client.stop_job(job)
        return True

    def printed(self, job: str) -> str:
        """Return all that a job has printed."""
        with _spoken():
            return self._client.get_job_logs(job)

    def files(self, job: str, run_id: str) -> list[str]:
        """List the files of a run's folder on the cluster, relative to it."""
        node = self._node(job)
        if not node:
            return []
        shown = SHOWN.format(run_id)
        with _spoken():
            answer = self._get("/api/v0/logs", node_id=node, glob=f"{shown}/**/*")
            found = answer.json()["data"]["result"] if answer.ok else {}
        names = sorted({name for group in found.values() for name in group})
        inside = [name.removeprefix(f"{shown}/") for name in names if not name.endswith("/")]
        return [name for name in inside if ".." not in Path(name).parts and not Path(name).is_absolute()]

    def read(self, job: str, run_id: str, name: str) -> bytes:
        """Return a small file of the run's folder on the cluster; empty where there is none yet."""
        with self._opened(job, run_id, name) as answer:
            return answer.content if answer is not None and answer.ok else b""

    def fetch(self, job: str, run_id: str, name: str, target: Path) -> None:
        """Write a file of the run's folder on the cluster to `target`.

        Raises
        ------
        RunnerUnavailable
            When it is not there.
        """
        with self._opened(job, run_id, name) as answer, target.open("wb") as file:
            if answer is None or not answer.ok:
                raise RunnerUnavailable(f"{name} of run {run_id} could not be fetched from Ray.")
            for chunk in answer.iter_content(1 << 20):
                file.write(chunk)

    @contextlib.contextmanager
    def _opened(self, job: str, run_id: str, name: str) -> Iterator["requests.Response | None"]:
        node = self._node(job)
        if not node:
            yield None
            return
        with _spoken():
            place = f"{SHOWN.format(run_id)}/{name}"
            with self._get("/api/v0/logs/file", node_id=node, filename=place, lines=-1) as answer:
                yield answer

    def _get(self, path: str, **query: object) -> "requests.Response":
        # Ray's own functions for its log folder (`ray.util.state.get_log`) want the cluster's inner address and port;
        # this asks the same service through the job client, with its token and its certificates.
        query["timeout"] = _TIMEOUT_S
        return self._client._do_request("GET", path, params=query, stream=True, timeout=2 * _TIMEOUT_S)

    def _node(self, job: str) -> str | None:
        with _spoken():
            return self._client.get_job_info(job).driver_node_id


@contextlib.contextmanager
def _spoken() -> Iterator[None]:
    """Put what Ray and its HTTP client raise into our words."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError:
        raise RunnerUnavailable(
            "The Ray cluster refuses the token. Set SLICESCOPE_RAY_TOKEN to the one it was started with "
            "(on its head node, `ray get-auth-token` prints it)."
        ) from None
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise Silent(str(error)[:300]) from None
    except ValueError as error:
        raise RunnerUnavailable(f"Ray does not take the run: {str(error)[:300]}") from None
    except RuntimeError as error:
        if "404" in str(error) and "does not exist" in str(error):
            raise Gone(str(error)[:300]) from None
        raise RunnerUnavailable(f"Ray refuses: {str(error)[:300]}") from None
