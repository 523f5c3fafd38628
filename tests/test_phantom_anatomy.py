"""Phantom people: real anatomy at its place in every one of them, and nobody the same as the next."""

import numpy as np
import pytest
from scipy import ndimage

from core.phantom import anatomy
from core.phantom.anatomy import FINDINGS, ID, ORIGIN, SHAPE, TISSUES, make_person
from core.phantom.findings import SICK, add_finding
from core.phantom.tissues import labels_in, noise

#: What each finding may paint, and what it cannot do without.
PAINTS = {
    "glioma": ({"rim", "necrosis", "oedema"}, {"oedema"}),
    "metastases": ({"rim", "necrosis", "oedema"}, {"rim", "oedema"}),
    "white_matter_lesions": ({"lesion"}, {"lesion"}),
    "meningioma": ({"meningioma", "oedema"}, {"meningioma"}),
    "resection": ({"rim", "cavity", "oedema"}, {"rim", "cavity"}),
    "sellar_mass": ({"meningioma"}, {"meningioma"}),
    "stroke": ({"infarct", "lesion", "cavity"}, set()),
}


@pytest.fixture(scope="module")
def people():
    """A healthy one, who is 1, and one with a tumour, who is 3."""
    return {seed: make_person(seed, finding) for seed, finding in ((1, "none"), (3, "meningioma"))}


@pytest.fixture(params=[1, 3])
def person(request, people):
    return people[request.param]


def mm(x, y, z) -> tuple[slice, slice, slice]:
    """The box between two MNI places, given as three pairs of (from, to) in mm."""
    return tuple(slice(a - o, b - o + 1) for (a, b), o in zip((x, y, z), ORIGIN, strict=True))


def middle_of(brain):
    """Index of the middle of the brain along each axis."""
    hits = [np.flatnonzero(brain.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return [(int(hit[0]) + int(hit[-1])) // 2 for hit in hits]


def test_same_seed_same_person_bit_for_bit(people):
    again = make_person(1, "none")
    np.testing.assert_array_equal(again.tissue, people[1].tissue)
    np.testing.assert_array_equal(again.brain, people[1].brain)
    assert (again.finding, again.seed) == ("none", 1)


def test_other_seed_other_person(people):
    one, other = people[1], people[3]
    assert (one.tissue != other.tissue).mean() > 0.05
    # Not only other folds: another size and pose, too.
    assert np.count_nonzero(one.brain) != np.count_nonzero(other.brain)
    assert (one.brain != other.brain)[one.brain | other.brain].mean() > 0.03


def test_every_voxel_is_a_tissue_of_the_table(person):
    assert person.tissue.dtype == np.uint8 and person.tissue.shape == SHAPE == person.brain.shape
    assert person.brain.dtype == bool
    assert person.tissue.max() < len(TISSUES)
    present = {TISSUES[i] for i in np.unique(person.tissue)}
    assert present >= set(TISSUES) - set(SICK)
    assert person.finding != "none" or not present & set(SICK)
    assert ("meningioma" in present) == (person.finding == "meningioma")


def test_brain_has_a_brains_size_and_shares_of_tissue(person):
    litres = np.count_nonzero(person.brain) / 1e6
    assert 1.2 < litres < 2.5
    share = np.bincount(person.tissue[person.brain], minlength=len(TISSUES)) / np.count_nonzero(person.brain)
    assert 0.4 < share[ID["grey_matter"]] < 0.62
    assert 0.2 < share[ID["white_matter"]] < 0.4
    assert 0.05 < share[ID["csf"]] < 0.3
    assert share[labels_in(np.arange(len(TISSUES)), "air", "bone", "fat", "skin", "muscle")].sum() == 0
    assert not np.isin(person.tissue[~person.brain], [ID["white_matter"], ID["grey_matter"], ID["deep_grey"]]).any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_lateral_ventricles_hold_nothing_but_fluid(person, side):
    """Room for a pose of a few millimetres around their MNI place; whole 5 mm balls of fluid lie only there."""
    csf = person.tissue == ID["csf"]
    x, core = ((-12, -8), (-20, -3)) if side == "left" else ((8, 12), (3, 20))
    assert csf[mm(x, (-10, 10), (15, 25))].mean() > 0.4
    pure = ndimage.binary_erosion(csf[mm(core, (-16, 16), (6, 34))], iterations=2)
    assert np.count_nonzero(pure) > 1000  # what the soft maps leave by themselves is half of that


def test_white_matter_lies_inside_of_the_cortex(person):
    deep = ndimage.binary_erosion(person.brain, iterations=12)
    outer = person.brain & ~ndimage.binary_erosion(person.brain, iterations=6)
    white, grey = (person.tissue == ID[name] for name in ("white_matter", "grey_matter"))
    assert white[deep].mean() > 2 * white[outer].mean()
    assert grey[outer].mean() > 2 * white[outer].mean()


def test_left_and_right_are_balanced(person):
    middle = middle_of(person.brain)[0]
    halves = person.tissue[:middle], person.tissue[middle:]
    for name, least in (
        ("white_matter", 0.75), ("grey_matter", 0.75), ("csf", 0.7), ("deep_grey", 0.6), ("vitreous", 0.6),
        ("eye_muscle", 0.5), ("gland", 0.6), ("bone", 0.75),
    ):  # fmt: skip
        left, right = sorted(np.count_nonzero(half == ID[name]) for half in halves)
        assert left > least * right > 0, name


def test_way_out_of_the_head_leads_through_bone_and_fat_into_air(person):
    x, y, _ = middle_of(person.brain)
    # Beside the midline, where the great sinus runs.
    column = person.tissue[x + 20, y]
    top = int(np.flatnonzero(person.brain[x + 20, y])[-1])
    outside = [TISSUES[i] for i in column[top + 1 :]]
    first = {name: outside.index(name) for name in ("bone", "marrow", "fat", "air")}
    assert 0 <= first["bone"] < first["marrow"] < first["fat"] < first["air"] < 30
    assert set(outside[first["air"] :]) == {"air"}


def test_head_reaches_down_into_the_neck(person):
    neck = person.tissue[:, :, : -72 - ORIGIN[2]]
    held = {TISSUES[i] for i in np.unique(neck)}
    assert held >= {"muscle", "fat", "skin", "marrow", "disc", "nerve", "artery", "vein", "mucosa"}
    # Below the brain there is a body of the breadth of a neck, and air around it.
    low = person.tissue[:, :, -120 - ORIGIN[2]] > 0
    assert 70 < np.flatnonzero(low.any(1)).size < 150
    assert not (person.tissue[0] > 0).any() and not (person.tissue[-1] > 0).any()


def test_nose_stands_out_in_front_of_the_brain(person):
    brain_front = np.flatnonzero(person.brain.any((0, 2)))[-1]
    middle = middle_of(person.brain)[0]
    face = person.tissue[:, :, -85 - ORIGIN[2] : -25 - ORIGIN[2]] > 0
    reach = np.array([np.flatnonzero(column.any(1))[-1] if column.any() else 0 for column in face])
    assert reach.max() > brain_front + 15
    assert abs(int(reach.argmax()) - middle) < 15
    # It is a ridge: on the cheeks the face ends farther back.
    assert reach.max() > max(reach[middle - 30], reach[middle + 30]) + 15


def test_eyes_look_forward_below_the_frontal_lobe(person):
    middle = middle_of(person.brain)
    places = np.argwhere(person.tissue == ID["vitreous"])
    assert places[:, 1].min() > middle[1] + 30
    lens = np.argwhere(person.tissue == ID["lens"])
    for side in (places[:, 0] < middle[0], places[:, 0] > middle[0]):
        eye = places[side].mean(0)
        assert 20 < abs(eye[0] - middle[0]) < 50
        assert eye[2] < middle[2] - 10
        assert lens[(lens[:, 0] < middle[0]) == (eye[0] < middle[0])][:, 1].mean() > eye[1]


@pytest.mark.parametrize("finding", PAINTS)
def test_finding_puts_its_tissues_into_the_brain_and_leaves_the_rest(people, finding):
    healthy = people[1]
    may, must = PAINTS[finding]
    sizes, seen = set(), set()
    for seed in range(6):
        tissue = healthy.tissue.copy()
        add_finding(tissue, healthy.brain, finding, np.random.default_rng(seed))
        changed = tissue != healthy.tissue
        painted = {TISSUES[i] for i in np.unique(tissue[changed])}
        assert must <= painted <= may, seed
        if finding == "sellar_mass":
            # It may grow into the sphenoid, but stays about the sella.
            places = np.argwhere(changed) + ORIGIN
            assert np.abs(places - (0, 4, -28)).max() < 40
        else:
            assert not changed[~healthy.brain].any()
        sizes.add(int(np.count_nonzero(changed)))
        seen |= painted
    # Some strokes are as small as a pea.
    assert len(sizes) == 6 and min(sizes) > (60 if finding == "stroke" else 500)
    assert seen == may


def test_no_finding_changes_nothing(people):
    tissue = people[1].tissue.copy()
    add_finding(tissue, people[1].brain, "none", np.random.default_rng(0))
    np.testing.assert_array_equal(tissue, people[1].tissue)


def test_asked_finding_is_the_one_that_is_made(people):
    assert people[3].finding == "meningioma"
    painted = people[3].tissue == ID["meningioma"]
    assert np.count_nonzero(painted) > 1000
    # It grows from the dura, so it comes near the skull.
    near_skull = people[3].brain & ~ndimage.binary_erosion(people[3].brain, iterations=6)
    assert (painted & near_skull).any()


def test_every_finding_has_a_chance_to_be_drawn():
    assert set(PAINTS) | {"none"} == set(FINDINGS)
    assert {name for paints, _ in PAINTS.values() for name in paints} == set(SICK)
    assert len(anatomy._ODDS) == len(FINDINGS) and min(anatomy._ODDS) > 0.02
    assert sum(anatomy._ODDS) == pytest.approx(1)


def test_unknown_finding_is_refused_before_any_work():
    with pytest.raises(ValueError, match="received 'aneurysm'"):
        make_person(1, "aneurysm")


@pytest.mark.parametrize("sigma", [1.0, 6.0, 9.0])
def test_noise_is_of_unit_variance_and_as_broad_as_asked(sigma):
    shape = (90, 80, 70)
    field = noise(np.random.default_rng(3), sigma, shape)
    assert (field.shape, field.dtype) == (shape, np.float32)
    assert field.std() == pytest.approx(1, rel=0.3)
    # Two points sigma apart are alike as exp(-1/4) says, and far apart strangers.
    near, far = (np.corrcoef(field[:-lag].ravel(), field[lag:].ravel())[0, 1] for lag in (round(sigma), 45))
    assert near == pytest.approx(np.exp(-0.25), abs=0.1)
    assert abs(far) < 0.4


def test_labels_in_finds_what_isin_finds():
    part = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.isin(part, [ID["csf"], ID["vein"], ID["air"]])
    np.testing.assert_array_equal(labels_in(part, "csf", "vein", "air"), expected)
