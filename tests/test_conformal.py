"""Sets of answers: MAPIE asked rightly, coverage within what chance allows, and warnings where it is not."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import beta, binom

from core.analysis import conformal
from core.errors import InputError


def drawn(n, c=4, seed=0):
    rng = np.random.default_rng(seed)
    proba = softmax(rng.normal(0, 1.5, (n, c)), axis=1)
    return proba, np.array([rng.choice(c, p=row) for row in proba])


@pytest.mark.parametrize("method", conformal.METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_exchangeable_slices_are_covered_as_promised(method, seed):
    m, n = 800, 3000
    proba, y = drawn(m + n, seed=seed)
    made = conformal.sets(proba[:m], y[:m], proba[m:], method=method)
    for at, level in enumerate(conformal.LEVELS):
        hits = made[np.arange(n), y[m:], at].sum()
        # The share that a calibration gives is itself drawn: Beta, and hits are binomial given that (Vovk, 2012).
        k = int(np.ceil((m + 1) * level))
        low = binom.ppf(1e-4, n, beta.ppf(1e-4, k, m + 1 - k))
        high = binom.ppf(1 - 1e-4, n, beta.ppf(1 - 1e-4, k, m + 1 - k))
        assert low <= hits <= (high if method == "lac" else n)
    assert (made[..., :-1] <= made[..., 1:]).all()  # a higher promise never drops an answer


def test_lac_is_the_published_formula():
    proba, y = drawn(500)
    unseen, _ = drawn(100, seed=1)
    scores = np.sort(1 - proba[np.arange(500), y])
    for at, level in enumerate(conformal.LEVELS):
        threshold = scores[int(np.ceil(501 * level)) - 1]
        np.testing.assert_array_equal(conformal.sets(proba, y, unseen)[..., at], 1 - unseen <= threshold)


def test_too_few_slices_cannot_promise_much_and_none_promise_nothing():
    proba, y = drawn(11)
    made = conformal.sets(proba, y, proba, (0.9, 0.95))
    assert not made[..., 0].all() and made[..., 1].all()
    assert conformal.sets(proba[:10], y[:10], proba, (0.9,)).all()
    with pytest.raises(InputError, match="received none"):
        conformal.sets(proba[:0], y[:0], proba)
    with pytest.raises(InputError, match="received 2"):
        conformal.sets(proba, np.arange(11) % 2, proba, method="aps")
    assert conformal.sets(proba, y, proba[:0]).shape == (0, 4, 4)


def test_class_that_is_left_out_is_named():
    y = np.repeat([0, 1, 2], [400, 100, 3])
    made = np.ones((503, 4), bool)
    made[400:430, 1] = False
    patients = np.arange(503).astype(str)
    every, first, second, third = conformal.coverage(made, y, patients, list("abcd"), 0.9)
    assert (every["under"], first["under"], second["under"], third["under"]) == (False, False, True, False)
    assert (second["class"], second["covered"], second["size"]) == ("b", 0.7, pytest.approx(3.7))
    assert third["few"] and not second["few"]
    assert conformal.coverage(made, y, np.full(503, "one"), list("abcd"), 0.9)[2]["few"]


def test_well_covered_classes_are_seldom_called_under_covered():
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        made = np.ones((200, 2), bool)
        made[:, 0] = rng.random(200) < 0.9
        called += conformal.coverage(made, np.zeros(200, int), np.arange(200).astype(str), ["a", "b"], 0.9)[1]["under"]
    assert called / 400 < 0.08
