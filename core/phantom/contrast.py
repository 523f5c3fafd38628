"""From tissue to signal: relaxation times and signal equations.

Relaxation times at 1.5 T and 3 T follow Stanisz et al., Magn Reson Med 54:507 (2005) for white and grey matter, muscle
and blood; Wansapura et al., J Magn Reson Imaging 9:531 (1999) for grey and white matter at 3 T; Rooney et al., Magn
Reson Med 57:308 (2007) for cerebrospinal fluid; de Bazelaire et al., Radiology 230:652 (2004) for fat and marrow.
Where papers differ the table takes a value between them; every person draws their own around it. Relaxivity of the
contrast agent (4.5 L/mmol/s for r1) follows Rohrer et al., Invest Radiol 40:715 (2005). Ten minutes after a usual dose
(0.1 mmol/kg) plasma holds 0.5 mmol/L and less each minute, see Staks et al., Invest Radiol 29:709 (1994); tissue
without a barrier takes up part of that. The low diffusion of an acute infarct is that of Schlaug et al., Neurology
49:113 (1997). Perfusion of grey and white matter follows Parkes et al., Magn Reson Med 51:736 (2004), and their blood
volume Leenders et al., Brain 113:27 (1990). Shares of protons bound to macromolecules are those of Stanisz et al. for
white and grey matter, muscle, nerve and blood, and guesses between them for others; the pulses of echo trains in other
slices saturate them (Melki and Mulkern, Magn Reson Med 24:189, 1992), which costs white matter most; an inversion
leaves them saturated, not inverted, so that they give magnetisation back while it recovers, which makes up for part of
that (van Gelderen et al., NeuroImage 128:85, 2016). Walls and fibres slow diffusion down the more it is weighted; the
mean kurtosis that says how much follows Jensen and Helpern, NMR Biomed 23:698 (2010). Refocusing by less than 180°
keeps part of the magnetisation along the field, so that trains weigh T2 less than their echo time says (Busse et al.,
Magn Reson Med 55:1030, 2006). The steady state of MPRAGE follows Deichmann et al., NeuroImage 12:112 (2000).
"""

from dataclasses import dataclass, replace

import numpy as np

from core.phantom.tissues import ID, TISSUES

# tissue: T1 at 1.5 T, T1 at 3 T (ms), T2 (ms), T2* (ms), proton density, ADC (1e-3 mm2/s), FA, agent (mmol/L)
_TABLE = {
    "air": (1000, 1000, 50, 10, 0.0, 0.0, 0.0, 0),
    "white_matter": (640, 850, 72, 52, 0.70, 0.75, 0.50, 0.005),
    "grey_matter": (1090, 1400, 94, 56, 0.82, 0.85, 0.15, 0.012),
    "deep_grey": (930, 1250, 78, 42, 0.80, 0.75, 0.22, 0.011),
    "pallidum": (800, 1050, 60, 26, 0.76, 0.75, 0.28, 0.009),
    "csf": (4200, 4300, 1800, 700, 1.0, 3.0, 0.06, 0.0),
    "dura": (900, 1100, 45, 15, 0.60, 0.8, 0.2, 0.15),
    "bone": (400, 450, 4, 1, 0.10, 0.1, 0.0, 0),
    "marrow": (420, 470, 62, 12, 0.55, 0.3, 0.0, 0.03),
    "fat": (300, 370, 85, 35, 0.78, 0.05, 0.0, 0.01),
    "skin": (800, 950, 35, 15, 0.65, 0.6, 0.1, 0.08),
    "muscle": (1000, 1400, 46, 28, 0.78, 1.4, 0.25, 0.06),
    "vitreous": (3800, 4000, 1500, 400, 1.0, 2.8, 0.05, 0),
    "lens": (1000, 1200, 30, 15, 0.6, 0.8, 0.1, 0),
    "mucosa": (1200, 1500, 120, 30, 0.88, 1.6, 0.1, 0.4),
    "artery": (1440, 1900, 180, 60, 0.85, 2.0, 0.1, 0.5),
    "vein": (1440, 1900, 120, 30, 0.85, 2.0, 0.1, 0.5),
    "choroid": (1600, 1900, 220, 60, 0.90, 2.0, 0.1, 0.4),
    "pituitary": (850, 1050, 85, 45, 0.82, 1.0, 0.1, 0.45),
    "gland": (700, 900, 80, 35, 0.85, 1.0, 0.1, 0.25),
    "nerve": (750, 950, 78, 50, 0.74, 0.9, 0.45, 0.02),
    "disc": (1000, 1200, 80, 25, 0.75, 1.3, 0.1, 0.03),
    "rim": (1250, 1600, 120, 50, 0.85, 1.1, 0.12, 0.32),
    "necrosis": (2200, 2600, 320, 90, 0.95, 2.0, 0.06, 0.03),
    "oedema": (1400, 1700, 170, 80, 0.88, 1.5, 0.2, 0.01),
    "lesion": (1250, 1600, 150, 75, 0.86, 1.3, 0.25, 0.01),
    "eye_muscle": (1000, 1350, 50, 28, 0.80, 1.3, 0.25, 0.2),
    "meningioma": (1150, 1500, 100, 50, 0.84, 0.9, 0.2, 0.42),
    "cavity": (3500, 3700, 1200, 400, 1.0, 2.8, 0.05, 0.0),
    "infarct": (1250, 1600, 125, 65, 0.85, 0.42, 0.2, 0.01),
}
# tissue: blood flow (mL/100 g/min) and blood volume (mL/100 g); 5 and 2 where nothing is said
_BLOOD = {
    "air": (0, 0), "white_matter": (22, 2.0), "grey_matter": (60, 4.5), "deep_grey": (52, 4.0), "pallidum": (40, 3.5),
    "csf": (0, 0.3), "bone": (1, 0.5), "marrow": (8, 3), "fat": (4, 1), "mucosa": (40, 8), "artery": (110, 60),
    "vein": (40, 50), "choroid": (50, 15), "pituitary": (60, 12), "gland": (40, 8), "vitreous": (0, 0), "lens": (0, 0),
    "rim": (90, 8), "necrosis": (4, 0.6), "oedema": (14, 1.6), "lesion": (16, 1.6), "meningioma": (120, 11),
    "cavity": (0, 0.3), "eye_muscle": (25, 5), "disc": (0, 0), "infarct": (9, 1.3),
}  # fmt: skip
# tissue: protons bound to macromolecules, per cent of the free ones; none where nothing is said
_BOUND = {
    "white_matter": 13.9, "grey_matter": 5.0, "deep_grey": 7.0, "pallidum": 9.0, "nerve": 9.8, "muscle": 7.4,
    "eye_muscle": 7.4, "skin": 8.0, "dura": 8.0, "disc": 8.0, "artery": 2.8, "vein": 2.8, "pituitary": 4.0,
    "gland": 4.0, "mucosa": 3.0, "rim": 4.0, "oedema": 4.0, "lesion": 5.0, "meningioma": 5.0, "infarct": 4.0,
    "choroid": 2.0,
}  # fmt: skip
# tissue: mean kurtosis of diffusion; 0.4 where nothing is said
_MEAN_KURTOSIS = {
    "white_matter": 1.0, "grey_matter": 0.7, "deep_grey": 0.7, "pallidum": 0.8, "nerve": 0.9, "infarct": 0.9,
    "air": 0, "csf": 0, "vitreous": 0, "cavity": 0, "necrosis": 0,
}  # fmt: skip
_KURTOSIS = np.array([_MEAN_KURTOSIS.get(name, 0.4) for name in TISSUES], np.float32)
#: Protons bound to macromolecules as a share of white matter's.
_TRANSFER = np.array([_BOUND.get(name, 0.0) for name in TISSUES], np.float32) / _BOUND["white_matter"]
_FLOW, _VOLUME = np.array([_BLOOD.get(name, (5, 2)) for name in TISSUES], np.float32).T
_VALUES = np.array([_TABLE[name] for name in TISSUES], np.float32).T
#: Kinds of protocol whose pixels are computed from several pictures.
MAPS = ("adc", "fa", "cbf", "cbv")
#: Share of the echo time that weighs T2 in two-dimensional trains: refocusing pulses differ, and profiles of slices.
_REFOCUSED = (0.75, 0.95)
#: What magnetisation transfer costs white matter in them, without an inversion and after one.
_SATURATED, _SATURATED_IR = (0.05, 0.25), (0.0, 0.1)
#: Length of an MPRAGE readout, which parallel imaging shortens, and the time between its echoes, ms.
_READOUT_MS, _ECHO_SPACING_MS = (600.0, 1200.0), 7.0
RELAXIVITY_R1 = 4.5e-3  # L / mmol / ms
RELAXIVITY_R2 = 5.5e-3
FATTY = np.isin(np.arange(len(TISSUES)), [ID["fat"], ID["marrow"]])
WHITE = (np.arange(len(TISSUES)) == ID["white_matter"]).astype(np.float32)
BRAIN = np.isin(
    np.arange(len(TISSUES)),
    [ID[n] for n in ("white_matter", "grey_matter", "deep_grey", "pallidum", "csf", "rim", "necrosis", "oedema",
                     "lesion", "meningioma", "cavity", "infarct", "choroid", "artery", "vein", "dura", "nerve")],
)  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """How one series is acquired; the same values go into the signal equation and into the header.

    Attributes
    ----------
    sequence : str
        A word of `core.vocabulary.SEQUENCES`.
    kind : str
        Signal equation: ``se`` (spin echo and fast spin echo), ``ir`` (inversion recovery), ``gre``, ``mprage``,
        ``epi_se``, ``epi_gre``, ``swi``, ``tof`` (time of flight); and of maps the value itself: ``adc``, ``fa``,
        ``cbf`` (blood flow), ``cbv`` (blood volume).
    TR, TE : float
        Milliseconds. Above 200 ms, TE is that of a train of many low flip angles, see `contrast_TE`.
    TI : float or None
        Milliseconds.
    flip_deg : float
    field_T : float
        1.5 or 3.
    echo_train_length : int
    b_value : float
        s/mm2.
    contrast_agent, three_d, fat_sat : bool
    """

    sequence: str
    kind: str
    TR: float
    TE: float
    TI: float | None = None
    flip_deg: float = 90.0
    field_T: float = 1.5
    echo_train_length: int = 1
    b_value: float = 0.0
    contrast_agent: bool = False
    three_d: bool = False
    fat_sat: bool = False

    @property
    def contrast_TE(self) -> float:
        """Echo time of the spin echo with the same contrast, ms.

        A train of low flip angles keeps part of the magnetisation along the field, where it does not decay with T2:
        600 ms of it look like 100 (Busse et al., Magn Reson Med 55:1030, 2006).
        """
        return 0.3 * self.TE if self.TE > 200 else self.TE


def draw_protocol(sequence: str, rng: np.random.Generator) -> Protocol:
    """Draw a protocol as clinics use them.

    Parameters
    ----------
    sequence : {"T1", "T1CE", "T2", "FLAIR", "PD", "DWI", "ADC", "FA", "BOLD", "T2STAR", "SWI", "MRA", "ASL", "PWI"}
    rng : numpy.random.Generator

    Returns
    -------
    Protocol
    """

    def u(a, b):
        return float(np.round(rng.uniform(a, b), 1))

    field = float(rng.choice([1.5, 3.0]))
    base = Protocol(sequence, "se", 500, 10, field_T=field)
    if sequence in ("T1", "T1CE"):
        base = replace(base, contrast_agent=sequence == "T1CE", fat_sat=bool(rng.random() < 0.2))
        kind = rng.choice(["se", "mprage", "spgr", "flash", "ir"], p=[0.3, 0.27, 0.15, 0.13, 0.15])
        if kind == "se":
            return replace(base, TR=u(400, 750), TE=u(8, 17), echo_train_length=int(rng.choice([1, 3])))
        if kind == "mprage":
            return replace(base, kind="mprage", TR=u(1600, 2400), TE=u(2, 4.5), TI=u(800, 1100), flip_deg=u(7, 12),
                           three_d=True)  # fmt: skip
        if kind == "spgr":
            return replace(base, kind="gre", TR=u(7, 25), TE=u(2, 6), flip_deg=u(15, 30), three_d=True)
        if kind == "flash":
            return replace(base, kind="gre", TR=u(150, 350), TE=u(2.3, 5), flip_deg=u(65, 85))
        # Set so that fluid is nulled or a little below: any shorter, and grey matter would be nulled instead.
        tr = u(1700, 2550)
        return replace(base, kind="ir", TR=tr, TE=u(8, 24), TI=float(np.round(_null(tr) * rng.uniform(0.85, 1))),
                       echo_train_length=6)  # fmt: skip
    if sequence == "T2":
        three_d = bool(rng.random() < 0.15)
        return replace(base, TR=u(2800, 7000), TE=u(250, 410) if three_d else u(78, 125), three_d=three_d,
                       echo_train_length=int(rng.integers(9, 25)), fat_sat=bool(rng.random() < 0.25))  # fmt: skip
    if sequence == "FLAIR":
        tr, three_d = u(6000, 11000), bool(rng.random() < 0.3)
        if three_d:
            tr = u(4800, 8000)
        # As scanners set it, give or take a little.
        null = _null(tr) * rng.normal(1, 0.03)
        return replace(base, kind="ir", TR=tr, TE=u(280, 450) if three_d else u(80, 145), TI=float(np.round(null)),
                       echo_train_length=20, three_d=three_d, fat_sat=bool(rng.random() < 0.65))  # fmt: skip
    if sequence == "PD":
        # Fluid is dark in the short ones, and in those that come with a T2 for research as bright as grey matter.
        tr = u(2000, 3800) if rng.random() < 0.7 else u(3800, 8200)
        return replace(base, TR=tr, TE=u(8, 32), echo_train_length=int(rng.integers(4, 9)))
    if sequence == "DWI":
        b = float(rng.choice([0, 500, 700, 1000, 1000, 1500, 3000], p=[0.35, 0.05, 0.1, 0.2, 0.15, 0.1, 0.05]))
        return replace(base, kind="epi_se", TR=u(3000, 10000), TE=u(55, 115), b_value=b, fat_sat=True)
    if sequence in ("ADC", "FA"):
        return replace(base, kind=sequence.lower(), TR=u(3000, 10000), TE=u(60, 110), fat_sat=True)
    if sequence == "BOLD":
        return replace(base, kind="epi_gre", TR=u(800, 3500), TE=u(14, 50), flip_deg=u(60, 90), fat_sat=True)
    if sequence == "T2STAR":
        return replace(base, kind="gre", TR=u(450, 900), TE=u(15, 30), flip_deg=u(15, 25))
    if sequence == "SWI":
        tr = u(27, 50)
        return replace(base, kind="swi", TR=tr, TE=u(18, min(40, tr - 5)), flip_deg=u(12, 18), three_d=True)
    if sequence == "MRA":
        return replace(base, kind="tof", TR=u(20, 32), TE=u(3.4, 7), flip_deg=u(16, 25), three_d=True)
    if sequence == "ASL":
        # Sites keep the map, or the pictures it was subtracted from.
        kind = rng.choice(["cbf", "epi_gre", "se"], p=[0.5, 0.25, 0.25])
        if kind == "se":  # three-dimensional GRASE
            return replace(base, TR=u(3500, 5500), TE=u(14, 40), three_d=True, fat_sat=True)
        return replace(base, kind=kind, TR=u(3000, 5500), TE=u(10, 25), fat_sat=True)
    if sequence == "PWI":
        kind = rng.choice(["cbv", "cbf", "epi_gre"], p=[0.4, 0.2, 0.4])
        return replace(base, kind=kind, TR=u(1200, 2200), TE=u(28, 50), flip_deg=u(60, 90), fat_sat=True,
                       contrast_agent=bool(kind == "epi_gre"))  # fmt: skip
    raise ValueError(f"No protocol is known for {sequence!r}.")


def _null(tr: float) -> float:
    """Inversion time in ms that nulls cerebrospinal fluid at a repetition time in ms."""
    return 4200 * np.log(2 / (1 + np.exp(-tr / 4200)))


def _diffused(b: float, adc: np.ndarray) -> np.ndarray:
    """Share of signal that diffusion leaves, with b in 1e3 s/mm2.

    ``adc`` is what b = 1 shows; by each tissue's kurtosis signal falls faster before and more slowly after it.
    """
    # Two terms of a series, which have a meaning up to where the second turns it upwards.
    b = np.minimum(b, 0.5 + 3 / np.maximum(_KURTOSIS * adc, 1e-3))
    return np.exp(-b * adc + _KURTOSIS * adc**2 * b * (b - 1) / 6)


def _mprage(t1: np.ndarray, protocol: Protocol, readout: float) -> np.ndarray:
    """Longitudinal magnetisation, as a share, at the middle of an MPRAGE readout (ms long) in its steady state.

    The readout's many small pulses drive the magnetisation towards a saturation of its own, faster than T1 would: less
    contrast than an inversion alone gives.
    """
    tr, ti = protocol.TR, protocol.TI
    # It lies around TI, and must neither begin before the inversion nor end after the next.
    readout = min(readout, 1.8 * ti, 1.8 * (tr - ti))
    driven = 1 / (1 / t1 - np.log(np.cos(np.deg2rad(protocol.flip_deg))) / _ECHO_SPACING_MS)
    level = driven / t1
    before, half, after = (
        np.exp(-(ti - readout / 2) / t1), np.exp(-readout / 2 / driven), np.exp(-(tr - ti - readout / 2) / t1)
    )  # fmt: skip
    # What an inversion finds is what it left a TR ago, after waiting, readout and recovery: linear, so solved at once.
    end = level + (1 - level) * half**2
    found = (1 - after + end * after - before * half**2 * after) / (1 + before * half**2 * after)
    return level + (1 - (1 + found) * before - level) * half


def personal_tissue(rng: np.random.Generator) -> np.ndarray:
    """Draw one person's tissue values around the table's, shape (8, tissues), same rows as the table."""
    spread = np.exp(rng.normal(0, 0.07, _VALUES.shape)).astype(np.float32)
    values = _VALUES * spread
    values[7] *= np.exp(rng.normal(0, 0.35))  # dose and delay of the agent
    return values


def signal(tissue_values: np.ndarray, protocol: Protocol, rng: np.random.Generator) -> np.ndarray:
    """Signal of each tissue.

    Parameters
    ----------
    tissue_values : ndarray, shape (8, tissues)
        From `personal_tissue`.
    protocol : Protocol
    rng : numpy.random.Generator
        Draws what the protocol does not say: how completely fat is suppressed, how fast blood flows.

    Returns
    -------
    ndarray of float32, shape (tissues,)
        Arbitrary units, not negative.
    """
    t1_low, t1_high, t2, t2_star, density, adc, fa, agent = tissue_values
    t1 = t1_high if protocol.field_T > 2 else t1_low
    if protocol.field_T > 2:
        t2, t2_star = t2 * 0.93, t2_star * 0.8
    if protocol.contrast_agent:
        t1 = 1 / (1 / t1 + RELAXIVITY_R1 * agent)
        t2 = 1 / (1 / t2 + RELAXIVITY_R2 * agent)
        t2_star = 1 / (1 / t2_star + 2 * RELAXIVITY_R2 * agent)
    tr, te, ti = protocol.TR, protocol.contrast_TE, protocol.TI
    kind = protocol.kind
    train = protocol.echo_train_length > 4 and not protocol.three_d
    if train:
        te *= rng.uniform(*_REFOCUSED)
    artery, vein = ID["artery"], ID["vein"]

    if kind == "se":
        out = density * (1 - np.exp(-tr / t1)) * np.exp(-te / t2)
    elif kind == "ir":
        # magnitude image; with a long TR the inversion starts from nearly full magnetisation
        out = density * np.abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1)) * np.exp(-te / t2)
    elif kind == "mprage":
        out = density * np.abs(_mprage(t1, protocol, rng.uniform(*_READOUT_MS))) * np.exp(-te / t2_star)
    elif kind in ("gre", "swi", "epi_gre", "tof"):
        flip = np.deg2rad(protocol.flip_deg)
        e1 = np.exp(-tr / t1)
        out = density * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-te / t2_star)
        if kind == "swi":
            out[vein] *= rng.uniform(0.2, 0.6)
        elif kind == "tof":
            out[BRAIN] *= rng.uniform(0.55, 1)  # magnetisation transfer, where it is switched on
            out[artery] = density[artery] * np.sin(flip) * rng.uniform(0.65, 1)  # fresh blood is not saturated
    elif kind == "epi_se":
        out = density * (1 - np.exp(-tr / t1)) * np.exp(-te / t2) * _diffused(protocol.b_value * 1e-3, adc)
    elif kind == "adc":
        out = np.where(BRAIN | (density > 0.75), adc, 0.0)
    elif kind == "fa":
        out = np.where(BRAIN, fa, rng.uniform(0, 0.2) * (density > 0.05))
    elif kind in ("cbf", "cbv"):
        out = (_FLOW if kind == "cbf" else _VOLUME) * np.exp(rng.normal(0, 0.2, _FLOW.shape))
        # Blood still on its way in large arteries: much in some pictures, crushed in others.
        out[[artery, vein]] *= rng.uniform(0.3, 1.2)
    else:
        raise ValueError(f"No signal equation is known for {kind!r}.")

    if kind in MAPS:
        return out.astype(np.float32)
    flow = rng.uniform(0, 1)
    if kind in ("se", "ir"):
        out[artery] *= rng.uniform(0.05, 0.35)  # flow void
        out[vein] *= rng.uniform(0.3, 1.0) if protocol.contrast_agent else rng.uniform(0.1, 0.7)
    elif kind in ("gre", "mprage") and flow > 0.4:
        out[artery] = max(out[artery], rng.uniform(0.8, 1.8) * out[ID["white_matter"]])  # inflow
    if train:
        out *= 1 - rng.uniform(*(_SATURATED_IR if kind == "ir" else _SATURATED)) * _TRANSFER
    if protocol.fat_sat:
        out[FATTY] *= rng.uniform(0.05, 0.35)
    elif protocol.echo_train_length > 4:
        out[FATTY] *= rng.uniform(1.1, 2.3)  # J-coupling is undone by short echo spacing
    if kind in ("epi_se", "epi_gre"):
        out[FATTY] *= rng.uniform(0.2, 0.9)
        out[[ID["skin"], ID["muscle"]]] *= rng.uniform(0.4, 1.0)
    if protocol.sequence == "FLAIR":
        out[ID["csf"]] += rng.uniform(0.0, 0.4) ** 2 * out[ID["grey_matter"]]  # fluid that flowed in uninverted
    return out.astype(np.float32)
