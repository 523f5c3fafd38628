"""How fast a count goes, and how long the rest will take, in words."""

import time


class Pace:
    """The pace of one count, from its first report on: what was there by then was not counted in this time.

    Examples
    --------
    >>> pace = Pace(lambda: clock)
    >>> clock = 100.0
    >>> pace(1000, 9000)
    '1,000 of 9,000'
    >>> clock = 102.0
    >>> pace(5000, 9000)
    '5,000 of 9,000, 2,000 a second, about 2 s left'
    """

    def __init__(self, now=time.monotonic):
        self._now, self._first = now, None

    def __call__(self, done: int, total: int) -> str:
        """Say how many of how many, and from the second second on at what rate and for how long yet."""
        now = self._now()
        if self._first is None:
            self._first = now, done
        started, already = self._first
        counted = f"{done:,} of {total:,}"
        if now - started < 1 or done <= already or done >= total:
            return counted
        rate = (done - already) / (now - started)
        return f"{counted}, {rate:,.{0 if rate >= 10 else 1}f} a second, about {spelled((total - done) / rate)} left"


def spelled(seconds: float) -> str:
    """Give a length of time as people say it.

    Examples
    --------
    >>> [spelled(seconds) for seconds in (0.2, 75, 130, 8000)]
    ['1 s', '75 s', '2 min', '2 h 13 min']
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
