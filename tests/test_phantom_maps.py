"""Maps come out of noisy pictures: true where there is signal, and as wrong as in life where there is none."""

from dataclasses import replace

import numpy as np
import pytest

from core.phantom import contrast, maps
from core.phantom.contrast import Protocol
from core.phantom.tissues import ID

VALUES = contrast.personal_tissue(np.random.default_rng(3))
KINDS = {"adc": "ADC", "fa": "FA", "cbf": "ASL", "cbv": "PWI"}


def protocol(kind):
    return Protocol(KINDS[kind], kind, 5000, 80, field_T=3.0, fat_sat=True)


def flat(kind, tissue, snr, masked=False, seed=0):
    """A map of nothing but one tissue."""
    signals = maps.measured(VALUES, protocol(kind), np.random.default_rng(1))
    pictures = [np.full((60, 60), signal[ID[tissue]], np.float32) for signal in signals]
    return maps.computed(pictures, protocol(kind), snr, np.random.default_rng(seed), masked)


def test_other_protocols_measure_one_picture():
    plain = Protocol("T2", "se", 4000, 100)
    (signal,) = maps.measured(VALUES, plain, np.random.default_rng(2))
    np.testing.assert_array_equal(signal, contrast.signal(VALUES, plain, np.random.default_rng(2)))


@pytest.mark.parametrize("tissue", ["white_matter", "grey_matter", "csf", "oedema"])
def test_diffusion_coefficient_is_the_tissues_own_when_there_is_little_noise(tissue):
    assert flat("adc", tissue, 1e4).mean() == pytest.approx(VALUES[5, ID[tissue]], rel=0.02)


def test_noise_hides_fast_diffusion():
    """Where the weighted picture sinks into noise, its coefficient comes out too low: the noise floor."""
    assert flat("adc", "csf", 8).mean() < 0.9 * VALUES[5, ID["csf"]]


def test_noise_makes_fluid_look_anisotropic():
    calm, noisy = (flat("fa", "csf", snr).mean() for snr in (1e4, 10))
    assert calm == pytest.approx(VALUES[6, ID["csf"]], rel=0.05)
    assert noisy > 1.5 * calm


@pytest.mark.parametrize("kind", KINDS)
def test_masked_maps_are_empty_where_nothing_was_measured(kind):
    signals = maps.measured(VALUES, protocol(kind), np.random.default_rng(1))
    pictures = []
    for signal in signals:
        picture = np.zeros((60, 60), np.float32)
        picture[:, 30:] = signal[ID["grey_matter"]]
        pictures.append(picture)
    masked, whole = (
        maps.computed(pictures, protocol(kind), 40, np.random.default_rng(0), masked) for masked in (True, False)
    )
    assert (masked[:, :30] == 0).mean() > 0.99 and (masked[:, 30:] != 0).mean() > 0.95
    assert (whole[:, :30] != 0).mean() > 0.3
    assert masked.dtype == np.float32 and np.isfinite(whole).all()


def test_deep_tracts_are_more_anisotropic_than_fibres_below_the_cortex():
    white = np.zeros((80, 80), np.float32)
    white[20:60, 20:60] = 1
    factor = np.mean([maps.tracts(white, np.random.default_rng(seed)) for seed in range(30)], axis=0)
    assert factor[40, 40] > 1.5 * factor[21, 40]


def test_fat_and_flow_are_the_same_in_both_pictures_of_a_diffusion_map():
    plain, weighted = maps.measured(VALUES, protocol("adc"), np.random.default_rng(4))
    lit = plain > 0
    np.testing.assert_allclose(weighted[lit] / plain[lit], np.exp(-VALUES[5, lit]), rtol=1e-4)


def test_perfusion_is_highest_in_grey_matter_and_none_in_fluid():
    for kind in ("cbf", "cbv"):
        signal = contrast.signal(VALUES, replace(protocol(kind)), np.random.default_rng(0))
        assert signal[ID["grey_matter"]] > signal[ID["white_matter"]] > signal[ID["csf"]]
