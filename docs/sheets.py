"""Draw what phantoms look like: one sheet for the README, and sheets with real slices beside them for those who judge.

``make sheets`` draws ``docs/screenshots/phantoms.png``: a row a sequence; the left half as a clean scan of each plane,
the right half as the model is trained on it. Where ``SLICESCOPE_REAL_DATA`` names a folder of real MRI, it also draws
``out/sheets/<sequence>.png``, phantoms above real slices of the same plane; ``out/`` stays out of the repository.
"""

import os
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core import cohort, images, sources
from core.phantom.nuisances import Nuisances
from core.phantom.render import LEAVES, training_slices
from core.settings import PROJECT_DIR, get_settings
from core.shipping.real_files import with_truth
from core.vocabulary import PLANES

SIZE, GAP, COLUMNS = 128, 4, 10
#: People of no cohort and of no training.
PEOPLE = (900, 901, 902)
CLEAN = Nuisances(**{field.name: 0.0 for field in fields(Nuisances)})


def phantoms(odds: Nuisances, n: int) -> dict[tuple[str, str], list[np.ndarray]]:
    """Slices of all people, by plane and sequence."""
    found = defaultdict(list)
    for person in PEOPLE:
        for image, plane, sequence in training_slices(person, n, SIZE, odds):
            found[plane, sequence].append(image)
    return found


def real(folder: Path) -> dict[tuple[str, str], list[np.ndarray]]:
    """Slices of real files, by plane and sequence, those of one subject apart from each other."""
    made = cohort.scan(folder, "real", workers=os.cpu_count() or 1)
    table = with_truth(made.table, folder)
    table = table[table["plane_true"].notna() & table["sequence_true"].isin(LEAVES)]
    found = defaultdict(list)
    for (plane, word), part in table.groupby(["plane_true", "sequence_true"]):
        each = -(-COLUMNS // part["subject"].nunique())
        for _, own in part.groupby("subject"):
            for row in own.iloc[np.linspace(0.3, 0.7, each) * (len(own) - 1)].itertuples():
                pixels = sources.read_pixels(folder / row.path, row.frame)
                spacing = (row.pixel_spacing_row_mm, row.pixel_spacing_column_mm)
                found[plane, word].append(images.to_model_input(pixels, spacing, SIZE)[0])
    return found


def sheet(rows: list[tuple[str, list[np.ndarray]]], columns: int, path: Path) -> None:
    """Write rows of pictures with a title each."""
    font, margin = ImageFont.load_default(16), 120
    page = Image.new("L", (margin + columns * (SIZE + GAP), len(rows) * (SIZE + GAP)), 24)
    draw = ImageDraw.Draw(page)
    for number, (title, pictures) in enumerate(rows):
        top = number * (SIZE + GAP)
        draw.text((8, top + SIZE // 2 - 8), title, fill=230, font=font)
        for column, picture in enumerate(pictures[:columns]):
            shown = Image.fromarray(np.round(picture * 255).astype(np.uint8))
            page.paste(shown, (margin + column * (SIZE + GAP), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)
    print(path)


def main() -> None:
    clean, usual = phantoms(CLEAN, 150), phantoms(Nuisances(), 400)
    rows = [
        (word, [picture for found in (clean, usual) for plane in PLANES for picture in found[plane, word][:1]])
        for word in LEAVES
    ]
    sheet(rows, 2 * len(PLANES), PROJECT_DIR / "docs" / "screenshots" / "phantoms.png")
    if folder := get_settings().real_data:
        seen = real(folder)
        for word in LEAVES:
            rows = [
                (f"{plane}{kind}", found[plane, word])
                for plane in PLANES
                for kind, found in (("", usual), (" real", seen))
                if found[plane, word]
            ]
            sheet(rows, COLUMNS, PROJECT_DIR / "out" / "sheets" / f"{word}.png")


if __name__ == "__main__":
    main()
