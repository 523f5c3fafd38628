"""Contrast is physics: signal equations that obey their laws, and the textbook's orders of tissues."""

from dataclasses import replace

import numpy as np
import pytest

from core.phantom import contrast
from core.phantom.contrast import Protocol
from core.phantom.render import LEAVES
from core.phantom.tissues import ID, TISSUES

#: The average person: what one of them draws around the table cancels out.
AVERAGE = np.mean([contrast.personal_tissue(np.random.default_rng(seed)) for seed in range(100)], axis=0)
T1_LOW, T1_HIGH, T2, T2_STAR, DENSITY, ADC, FA, AGENT = range(8)

#: From bright to dark, whatever the protocol of the sequence and at both field strengths.
ORDERS = {
    "T1": ["white_matter>grey_matter>csf", "fat>white_matter", "white_matter>oedema>csf", "grey_matter>vein"],
    "T1CE": ["white_matter>grey_matter>csf", "rim>white_matter", "pituitary>white_matter",
             "meningioma>white_matter", "rim>necrosis"],
    # A short repetition keeps fluid from recovering, so that oedema may come up to it.
    "T2": ["oedema>grey_matter>white_matter", "csf>grey_matter", "lesion>grey_matter", "grey_matter>muscle",
           "white_matter>bone"],
    "FLAIR": ["oedema>grey_matter>white_matter>csf", "lesion>grey_matter", "rim>white_matter", "grey_matter>cavity"],
    "PD": ["grey_matter>white_matter>bone", "oedema>white_matter", "white_matter>artery"],
    "DWI": ["grey_matter>white_matter>csf", "lesion>csf", "white_matter>vitreous"],
    "ADC": ["csf>necrosis>oedema>grey_matter>white_matter"],
    "FA": ["white_matter>grey_matter>csf", "white_matter>deep_grey", "nerve>grey_matter", "white_matter>oedema"],
    "BOLD": ["grey_matter>vein", "white_matter>pallidum", "white_matter>fat", "grey_matter>bone"],
    "T2STAR": ["csf>grey_matter>white_matter>pallidum", "white_matter>vein", "grey_matter>muscle"],
    "MRA": ["artery>grey_matter", "artery>fat", "white_matter>csf", "grey_matter>csf"],
    "ASL": ["grey_matter>white_matter", "white_matter>air"],
    "PWI": ["grey_matter>fat", "white_matter>air"],
    "SWI": ["white_matter>vein", "grey_matter>vein", "pallidum>vein", "grey_matter>pallidum", "artery>vein"],
}  # fmt: skip


def drawn(sequence, n=40, **changes):
    """Yield protocols of a sequence, each with its own random generator."""
    for seed in range(n):
        rng = np.random.default_rng([seed, LEAVES.index(sequence)])
        yield replace(contrast.draw_protocol(sequence, rng), **changes), rng


def is_textbook(protocol):
    """Leave out what is meant to look otherwise.

    Fat suppressed, low b, so high a b that white matter outshines grey, inversions that even out the two.
    """
    return not (
        (protocol.sequence in ("T1", "T1CE") and (protocol.fat_sat or protocol.kind == "ir"))
        or (protocol.sequence == "DWI" and not 1000 <= protocol.b_value <= 1500)
        or (protocol.sequence == "FLAIR" and protocol.three_d)
    )


@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("sequence", LEAVES)
def test_tissues_are_ordered_as_in_the_textbook(sequence, field):
    wrong, seen = [], 0
    for protocol, rng in filter(lambda pair: is_textbook(pair[0]), drawn(sequence, 60, field_T=field)):
        signal = contrast.signal(AVERAGE, protocol, rng)
        seen += 1
        for order in ORDERS[sequence]:
            names = order.split(">")
            values = [float(signal[ID[name]]) for name in names]
            if sorted(values, reverse=True) != values or len(set(values)) < len(values):
                wrong.append((order, values, protocol))
    assert wrong == []
    assert seen >= 15


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_inversion_prepared_t1_shows_white_matter_brightest_most_of_the_time(field):
    """Its inversion time nulls fluid, or comes a little early, when fluid is not quite dark in a magnitude picture."""
    signals = np.array(
        [
            contrast.signal(AVERAGE, protocol, rng)
            for protocol, rng in drawn("T1", 300, field_T=field)
            if protocol.kind == "ir"
        ]
    )
    white, grey, fluid = (signals[:, ID[name]] for name in ("white_matter", "grey_matter", "csf"))
    assert len(signals) > 20
    assert (white > grey).mean() > 0.95
    assert (white > fluid).mean() > 0.95
    assert (grey > fluid).mean() > 0.8


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_fluid_is_not_dark_in_pd_and_brightest_without_diffusion_weighting(field):
    for protocol, rng in drawn("PD", field_T=field):
        signal = contrast.signal(AVERAGE, protocol, rng)
        assert signal[ID["csf"]] > 0.6 * signal[ID["white_matter"]], protocol
    for protocol, rng in drawn("DWI", field_T=field, b_value=0.0):
        signal = contrast.signal(AVERAGE, protocol, rng)
        assert signal[ID["csf"]] > 1.2 * signal[ID["grey_matter"]], protocol


def test_fluid_is_nulled_in_flair_as_scanners_null_it():
    shares = [
        signal[ID["csf"]] / signal[ID["grey_matter"]]
        for signal in (contrast.signal(AVERAGE, protocol, rng) for protocol, rng in drawn("FLAIR", 100))
    ]
    assert np.median(shares) < 0.25
    assert max(shares) < 0.75


@pytest.mark.parametrize("sequence", LEAVES)
def test_signals_are_numbers_and_never_negative(sequence):
    for protocol, rng in drawn(sequence, 60):
        signal = contrast.signal(contrast.personal_tissue(rng), protocol, rng)
        assert (signal.shape, signal.dtype) == ((len(TISSUES),), np.float32)
        assert np.isfinite(signal).all() and (signal >= 0).all(), protocol
        assert signal[ID["air"]] == 0
        assert signal[ID["grey_matter"]] > 0, protocol


def test_same_seed_same_protocol_and_signal():
    for sequence in LEAVES:
        (one, rng_one), (two, rng_two) = next(drawn(sequence)), next(drawn(sequence))
        assert one == two
        np.testing.assert_array_equal(contrast.signal(AVERAGE, one, rng_one), contrast.signal(AVERAGE, two, rng_two))
    assert len({contrast.draw_protocol("T2", np.random.default_rng(seed)) for seed in range(20)}) == 20


def with_and_without_agent(protocol):
    """Signals of one protocol before and after contrast agent, all else drawn alike."""
    return (
        contrast.signal(AVERAGE, replace(protocol, contrast_agent=agent), np.random.default_rng(5))
        for agent in (False, True)
    )


def test_agent_shortens_t1_only_where_there_is_agent():
    for protocol, _ in drawn("T1CE", 60):
        before, after = with_and_without_agent(protocol)
        untouched = AVERAGE[AGENT] == 0
        np.testing.assert_allclose(after[untouched], before[untouched], rtol=1e-4)
        # Blood moves, so that arteries answer to flow more than to agent.
        soaked = (AVERAGE[AGENT] > 0.12) & (np.arange(len(TISSUES)) != ID["artery"])
        assert (after[soaked] > before[soaked]).all(), protocol
        # Behind its barrier the brain itself takes up next to nothing.
        assert after[ID["white_matter"]] == pytest.approx(before[ID["white_matter"]], rel=0.12), protocol
    assert {TISSUES[i] for i in np.flatnonzero(untouched)} >= {"air", "csf", "bone", "vitreous", "lens", "cavity"}
    assert {TISSUES[i] for i in np.flatnonzero(soaked)} >= {
        "rim", "meningioma", "vein", "choroid", "pituitary", "mucosa", "dura", "eye_muscle", "gland",
    }  # fmt: skip


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_rim_and_veins_light_up_after_agent_and_only_then(field):
    for protocol, _ in drawn("T1CE", 60, field_T=field):
        before, after = with_and_without_agent(protocol)
        assert after[ID["rim"]] > 1.5 * before[ID["rim"]], protocol
        assert after[ID["vein"]] > 2 * before[ID["vein"]], protocol
        if protocol.kind != "ir":
            assert before[ID["rim"]] < before[ID["white_matter"]] < after[ID["rim"]], protocol


def test_agent_is_in_the_blood_in_t1ce_alone():
    asked = {sequence: {protocol.contrast_agent for protocol, _ in drawn(sequence)} for sequence in LEAVES}
    # Of perfusion the pictures themselves are taken while agent passes; maps computed from them know no agent.
    assert asked == {sequence: {sequence == "T1CE"} for sequence in LEAVES} | {"PWI": {True, False}}
    assert all(protocol.contrast_agent == (protocol.kind == "epi_gre") for protocol, _ in drawn("PWI"))


def of(protocol, tissue, values=AVERAGE):
    return float(contrast.signal(values, protocol, np.random.default_rng(0))[ID[tissue]])


def test_spin_echo_decays_with_t2():
    early, late = (of(Protocol("T2", "se", 4000, te), "grey_matter") for te in (50, 110))
    assert late / early == pytest.approx(np.exp(-60 / AVERAGE[T2, ID["grey_matter"]]), rel=1e-4)


def test_spin_echo_recovers_with_t1_and_longer_at_3_t():
    short, long_ = (of(Protocol("T1", "se", tr, 10), "white_matter") for tr in (500, 60_000))
    assert short / long_ == pytest.approx(1 - np.exp(-500 / AVERAGE[T1_LOW, ID["white_matter"]]), rel=1e-4)
    assert of(Protocol("T1", "se", 500, 0, field_T=3.0), "muscle") < of(Protocol("T1", "se", 500, 0), "muscle")
    tissue = slice(1, None)  # air has no relaxation
    assert (AVERAGE[T1_HIGH, tissue] > AVERAGE[T1_LOW, tissue]).all()
    assert (AVERAGE[T2_STAR] < AVERAGE[T2]).all() and (AVERAGE[T2, tissue] < AVERAGE[T1_LOW, tissue]).all()


def test_inversion_nulls_a_tissue_at_its_own_inversion_time():
    t1, tr = AVERAGE[T1_HIGH, ID["csf"]], 8000
    null = t1 * np.log(2 / (1 + np.exp(-tr / t1)))
    nulled, later = (of(Protocol("T1", "ir", tr, 10, ti, 9, 3.0), "csf") for ti in (null, 2 * null))
    assert nulled < 1e-4 < 0.1 < later


@pytest.mark.parametrize("tissue", ["white_matter", "grey_matter", "csf"])
def test_mprage_is_what_its_pulses_leave_when_played_one_by_one(tissue):
    t1, flip, spacing, echoes = AVERAGE[T1_HIGH, ID[tissue]], 9.0, 7.0, 140
    protocol = Protocol("T1", "mprage", 2000, 0, 950, flip, 3.0, three_d=True)

    def recovered(magnetisation, time):
        return 1 - (1 - magnetisation) * np.exp(-time / t1)

    magnetisation, waits = 1.0, 950 - echoes * spacing / 2
    for _ in range(30):
        magnetisation = recovered(-magnetisation, waits)
        for echo in range(echoes):
            if echo == echoes // 2:
                middle = magnetisation
            magnetisation = recovered(magnetisation * np.cos(np.deg2rad(flip)), spacing)
        magnetisation = recovered(magnetisation, 2000 - 950 - echoes * spacing / 2)
    assert contrast._mprage(t1, protocol, echoes * spacing) == pytest.approx(middle, abs=2e-3)


def test_mprage_tells_white_from_grey_matter_less_than_its_inversion_alone():
    protocol = Protocol("T1", "mprage", 2000, 0, 950, 9, 3.0, three_d=True)
    white, grey = (AVERAGE[T1_HIGH, ID[name]] for name in ("white_matter", "grey_matter"))
    alone = np.divide(*(abs(1 - 2 * np.exp(-950 / t1) / (1 + np.exp(-2000 / t1))) for t1 in (white, grey)))
    assert 1.3 < contrast._mprage(white, protocol, 1000) / contrast._mprage(grey, protocol, 1000) < 0.9 * alone


def test_echo_trains_weigh_t2_less_than_their_echo_time_says():
    single, train = (
        np.mean(
            [
                np.divide(*contrast.signal(AVERAGE, protocol, np.random.default_rng(seed))[[ID["csf"], ID["muscle"]]])
                for seed in range(20)
            ]
        )
        for protocol in (Protocol("T2", "se", 4000, 100), Protocol("T2", "se", 4000, 100, echo_train_length=15))
    )
    assert 0.4 * single < train < 0.9 * single


def test_an_inversion_makes_up_for_most_of_what_magnetisation_transfer_costs():
    def cost(kind, **more):
        def white(length, seed):
            protocol = Protocol("T2", kind, 6000, 90, **more, echo_train_length=length)
            signal = contrast.signal(AVERAGE, protocol, np.random.default_rng(seed))
            return signal[ID["white_matter"]] / signal[ID["csf"]]

        return np.mean([white(15, seed) for seed in range(40)]) / white(1, 0)

    assert cost("se") < cost("ir", TI=2000.0)


def test_gradient_echo_is_brightest_at_the_ernst_angle():
    ernst = np.rad2deg(np.arccos(np.exp(-20 / AVERAGE[T1_LOW, ID["muscle"]])))
    less, most, more = (of(Protocol("T1", "gre", 20, 3, flip_deg=angle), "muscle") for angle in (ernst - 3, ernst, 40))
    assert less < most > more


def diffused(b_value):
    plain, weighted = (
        contrast.signal(AVERAGE, Protocol("DWI", "epi_se", 6000, 80, b_value=b), np.random.default_rng(2))
        for b in (0, b_value)
    )
    return weighted / np.where(plain > 0, plain, np.nan)


def test_diffusion_weighting_takes_signal_by_the_apparent_diffusion_coefficient():
    kept = diffused(1000)
    there = np.isfinite(kept)
    np.testing.assert_allclose(kept[there], np.exp(-AVERAGE[ADC, there]), rtol=1e-4)


def test_kurtosis_bends_the_decay_of_tissue_and_not_of_fluid():
    for b_value, low, high in ((500, 0.95, 0.99), (2000, 1.1, 1.4)):
        ratio = diffused(b_value) / np.exp(-b_value / 1000 * AVERAGE[ADC])
        assert low < ratio[ID["white_matter"]] < high
        assert ratio[ID["csf"]] == pytest.approx(1, rel=1e-4)


def test_signal_only_falls_with_diffusion_weighting():
    kept = np.stack([diffused(b) for b in (100, 500, 1000, 2000, 3000, 6000)])
    assert np.all((np.diff(kept, axis=0) <= 0) | np.isnan(kept[1:]))
    # Restriction keeps white matter bright where grey has faded.
    assert kept[4, ID["white_matter"]] / kept[4, ID["grey_matter"]] > 1.3


def test_maps_hold_the_values_themselves_inside_the_brain():
    for kind, row in (("adc", ADC), ("fa", FA)):
        signal = contrast.signal(AVERAGE, Protocol(kind.upper(), kind, 6000, 80), np.random.default_rng(0))
        np.testing.assert_allclose(signal[contrast.BRAIN], AVERAGE[row, contrast.BRAIN], rtol=1e-5)


def test_fat_suppression_darkens_fat_and_marrow_alone():
    plain, suppressed = (
        contrast.signal(AVERAGE, Protocol("T2", "se", 4000, 100, fat_sat=fat_sat), np.random.default_rng(1))
        for fat_sat in (False, True)
    )
    assert (suppressed[contrast.FATTY] < 0.4 * plain[contrast.FATTY]).all()
    np.testing.assert_array_equal(suppressed[~contrast.FATTY], plain[~contrast.FATTY])
    assert {TISSUES[i] for i in np.flatnonzero(contrast.FATTY)} == {"fat", "marrow"}


def test_flow_takes_arteries_out_of_spin_echo_and_may_brighten_them_in_gradient_echo():
    spin = Protocol("T1", "se", 600, 10)
    gradient = Protocol("T1", "gre", 20, 4, flip_deg=25)
    still = of(replace(gradient, kind="epi_gre"), "artery")  # an equation without flow
    spins, gradients = (
        [contrast.signal(AVERAGE, protocol, np.random.default_rng(seed)) for seed in range(40)]
        for protocol in (spin, gradient)
    )
    assert all(signal[ID["artery"]] < 0.4 * signal[ID["grey_matter"]] for signal in spins)
    bright = [signal[ID["artery"]] > 1.05 * still for signal in gradients]
    assert 0.3 < np.mean(bright) < 0.9


# sequence, equation: ranges of TR, TE, TI in ms and of the flip angle in degrees, as DESIGN.md and clinics have them
RANGES = {
    ("T1", "se"): ((350, 800), (7, 20), None, (90, 90)),
    ("T1", "mprage"): ((1500, 2500), (1.5, 5), (750, 1150), (5, 15)),
    ("T1", "gre"): ((5, 400), (1.5, 7), None, (12, 90)),
    ("T1", "ir"): ((1500, 3500), (7, 30), (500, 1100), (90, 90)),
    ("T2", "se"): ((2500, 8000), (70, 450), None, (90, 90)),
    ("FLAIR", "ir"): ((4500, 12000), (80, 450), (1400, 3000), (90, 90)),
    ("PD", "se"): ((1800, 8500), (8, 35), None, (90, 90)),
    ("DWI", "epi_se"): ((2500, 11000), (50, 120), None, (90, 90)),
    ("ADC", "adc"): ((2500, 11000), (50, 120), None, (90, 90)),
    ("FA", "fa"): ((2500, 11000), (50, 120), None, (90, 90)),
    ("BOLD", "epi_gre"): ((700, 4000), (12, 55), None, (50, 90)),
    ("T2STAR", "gre"): ((400, 1000), (12, 35), None, (10, 30)),
    ("SWI", "swi"): ((20, 60), (15, 45), None, (8, 20)),
    ("MRA", "tof"): ((18, 40), (3, 7), None, (15, 30)),
    ("ASL", "cbf"): ((2500, 6000), (8, 30), None, (90, 90)),
    ("ASL", "epi_gre"): ((2500, 6000), (8, 30), None, (90, 90)),
    ("ASL", "se"): ((3000, 6000), (10, 45), None, (90, 90)),
    ("PWI", "cbf"): ((1000, 2500), (25, 55), None, (50, 90)),
    ("PWI", "cbv"): ((1000, 2500), (25, 55), None, (50, 90)),
    ("PWI", "epi_gre"): ((1000, 2500), (25, 55), None, (50, 90)),
}


@pytest.mark.parametrize("sequence", LEAVES)
def test_timings_are_those_of_clinics(sequence):
    kinds = set()
    for protocol, _ in drawn(sequence, 150):
        word = "T1" if sequence == "T1CE" else sequence
        kinds.add((word, protocol.kind))
        tr, te, ti, flip = RANGES[word, protocol.kind]
        assert protocol.sequence == sequence
        assert tr[0] <= protocol.TR <= tr[1] and te[0] <= protocol.TE <= te[1], protocol
        assert flip[0] <= protocol.flip_deg <= flip[1], protocol
        assert protocol.TI is None if ti is None else ti[0] <= protocol.TI <= ti[1] < protocol.TR, protocol
        assert protocol.field_T in (1.5, 3.0) and protocol.echo_train_length >= 1
        assert 0 <= protocol.b_value <= 3000 and (protocol.kind == "epi_se" or not protocol.b_value)
    assert kinds == {key for key in RANGES if key[0] == ("T1" if sequence == "T1CE" else sequence)}


def test_echo_trains_of_low_flip_angles_look_like_shorter_echo_times():
    """Only long effective echo times belong to such trains, and of those only three-dimensional ones."""
    for sequence in ("T2", "FLAIR"):
        for protocol, _ in drawn(sequence, 100):
            assert protocol.three_d == (protocol.TE > 200)
            assert 70 < protocol.contrast_TE < 150
    assert Protocol("T2", "se", 4000, 100).contrast_TE == 100


@pytest.mark.parametrize("sequence", LEAVES)
def test_echo_comes_before_the_next_pulse(sequence):
    late = [protocol for protocol, _ in drawn(sequence, 150) if protocol.TE >= protocol.TR]
    assert late == []


def test_diffusion_series_come_without_weighting_and_with_strong_one():
    values = {protocol.b_value for protocol, _ in drawn("DWI", 200)}
    assert {0, 1000} < values and max(values) >= 1500


@pytest.mark.parametrize("word", ["FIELDMAP", "LOCALIZER", "t1", "", "T1KM"])
def test_unknown_sequence_is_refused(word):
    with pytest.raises(ValueError, match="No protocol is known for"):
        contrast.draw_protocol(word, np.random.default_rng(0))


def test_unknown_signal_equation_is_refused():
    with pytest.raises(ValueError, match="No signal equation is known for 'bssfp'"):
        contrast.signal(AVERAGE, Protocol("T2", "bssfp", 5, 2.5), np.random.default_rng(0))


def test_people_differ_a_little_around_the_table():
    one, other = (contrast.personal_tissue(np.random.default_rng(seed)) for seed in (1, 2))
    assert one.shape == (8, len(TISSUES)) and not np.array_equal(one, other)
    np.testing.assert_array_equal(one, contrast.personal_tissue(np.random.default_rng(1)))
    rest = (AVERAGE > 0) & (np.arange(8) != AGENT)[:, None]
    ratio = one[rest] / AVERAGE[rest]
    assert ratio.min() > 0.7 and ratio.max() < 1.4
    assert ((one == 0) == (AVERAGE == 0)).all()
