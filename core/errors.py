"""The exceptions that callers may catch; everything else is a bug and shows itself.

::

    CoreError
    ├── InputError            a path, an argument or an option that cannot be used
    │   └── UnreadableFile    one file that cannot become slices; carries the reason
    │       └── UnopenedFile  it could not even be opened: another time it may
    ├── CohortError           a slice table that is missing, stale or inconsistent
    ├── ConfigError           a run configuration that cannot work
    ├── WeightsUnavailable    pretrained weights that could not be had
    ├── SourceUnavailable     data that could not be had: an extra that is not installed, no network
    ├── StorageFull           a disk without room for what has to be kept
    ├── BundleError           a model bundle that is missing, altered or not registered
    ├── RunError              a run folder that is missing or in the wrong state
    ├── RunnerUnavailable     another machine that cannot take a run: not installed, no address, no answer, no token
    └── ChildError            a child process that failed a request
        ├── ChildTimeout      it took longer than its limit
        └── ChildDied         it ended before answering (killed, out of memory)

A message says what is wrong, what was expected, what came, and what to do.
"""


class CoreError(Exception):
    """Base of every error that is an answer rather than a bug."""


class InputError(CoreError):
    """A path, an argument or an option that cannot be used."""


class UnreadableFile(InputError):
    """One file that cannot become slices; ``str(error)`` is the reason, without the path."""


class UnopenedFile(UnreadableFile):
    """One file that could not be opened: nothing is known of what it holds, and another time it may be readable."""


class CohortError(CoreError):
    """A slice table that is missing, stale or inconsistent."""


class StaleCohort(CohortError):
    """A slice table of another version, or a damaged one: indexing its folder again makes it anew."""


class ConfigError(CoreError):
    """A run configuration that cannot work."""


class WeightsUnavailable(CoreError):
    """Pretrained weights that could not be had (no network, missing file)."""


class SourceUnavailable(CoreError):
    """Data that could not be had: the extra that fetches it is not installed, or there is no network."""


class StorageFull(CoreError):
    """A disk without room for what has to be kept."""


class BundleError(CoreError):
    """A model bundle that is missing, altered or not registered."""


class RunError(CoreError):
    """A run folder that is missing or in the wrong state for what was asked."""


class RunnerUnavailable(CoreError):
    """Another machine that cannot take a run: its extra is not installed, it does not answer, or refuses the token."""


class ChildError(CoreError):
    """A child process that failed a request."""


class ChildTimeout(ChildError):
    """A child process that took longer than its limit; it has been killed."""


class ChildDied(ChildError):
    """A child process that ended before answering, for example out of memory."""


class ChildStopped(ChildError):
    """A child process that was ended, or left off its work, because nobody waits for its answer any more."""
