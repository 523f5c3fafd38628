"""Who a slice belongs to, without saying who: keyed pseudonyms, and paths that name nobody.

The key lies in the workspace, readable by its owner alone. The same patient has the same pseudonym in
every cohort of a workspace and another one in every other workspace.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from core.labels import seed_name, tcga_barcode
from core.settings import Settings, get_settings

_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
_NO_WORD = re.compile(r"[\W_]+")
_PSEUDONYM = re.compile(r"P-[0-9a-f]{10}")
#: Parts of names that are mostly no names; hiding them would blot out half of all folders.
_GENERIC = frozenset((
    "anon", "anonymous", "anonymized", "anonymised", "brain", "data", "deidentified", "dicom", "head", "mri", "patient",
    "phantom", "scan", "study", "subject", "test", "unknown", "volunteer",
))  # fmt: skip
#: Words of one identity that stand side by side in a path; more than a name or an identifier has.
_LONGEST = 8


def _key(settings: Settings) -> bytes:
    path = settings.workspace / "key"
    if not path.exists():
        settings.workspace.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"key.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            # A link fails where another process was faster, so that nobody ever uses a key that is lost.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes()


def digest(text: str, settings: Settings | None = None) -> bytes:
    """Give the keyed SHA-256 digest (HMAC, RFC 2104) of `text`."""
    return hmac.digest(_key(settings or get_settings()), text.encode(), hashlib.sha256)


def pseudonym(patient_id: str, settings: Settings | None = None) -> str:
    """Name a patient by a keyed digest.

    Parameters
    ----------
    patient_id : str
        As in the file; surrounding blanks are dropped. A pseudonym is returned as it is.
    settings : Settings, optional
        Whose workspace holds the key; it is made on first use.

    Returns
    -------
    str
        ``P-`` and ten hexadecimal digits.
    """
    patient_id = patient_id.strip()
    return patient_id if _PSEUDONYM.fullmatch(patient_id) else f"P-{digest(patient_id, settings).hex()[:10]}"


def patient_of(header: Mapping, path: PurePosixPath) -> str:
    """Find whom a slice belongs to, in the words of the file: this is what a pseudonym is made of.

    Parameters
    ----------
    header : mapping
        As from `core.sources.read_headers`.
    path : PurePosixPath
        Relative to the cohort's root.

    Returns
    -------
    str
        The header's PatientID; else a TCGA barcode, a seed picture's patient or a BIDS ``sub-`` label in the
        path; else the header's PatientName, then its study; else the folder, for pictures in one folder are
        likelier of one patient than not, and a split must not part them. A NIfTI volume in the root stands
        for itself.
    """
    patient = str(header.get("PatientID") or "").strip()
    if patient:
        barcode = tcga_barcode(patient)
        return barcode if barcode and len(patient) <= len(barcode) else patient
    if seed := seed_name(path.name):
        return str(seed["PatientID"])
    if barcode := tcga_barcode(str(path)):
        return barcode
    if subject := re.search(r"(?:^|/)(sub-[A-Za-z0-9]+)", str(path)):
        return subject[1]
    for keyword in ("PatientName", "StudyInstanceUID"):
        if value := str(header.get(keyword) or "").strip():
            return value
    if len(path.parts) == 1 and header.get("kind") == "nifti":
        return str(path)
    return f"folder {path.parent}"


def identity(header: Mapping, path: PurePosixPath) -> tuple[str, ...]:
    """List what must not be shown of a patient: identifier and name as the file writes them, and the name's parts."""
    name = str(header.get("PatientName") or "").strip()
    parts = [part for part in re.split(r"[\^=\s,]+", name) if len(part) >= 3 and joined(part) not in _GENERIC]
    found = [str(header.get("PatientID") or "").strip(), name, "".join(reversed(parts)), *parts]
    patient = patient_of(header, path)
    if not patient.startswith("folder ") and patient not in (str(path), str(header.get("StudyInstanceUID"))):
        found.append(patient)
    if seed_name(path.name):
        found.append(path.stem.split("_")[-2])
    return tuple(dict.fromkeys(text for text in found if joined(text)))


def joined(text: str) -> str:
    """Reduce `text` to its letters and digits, as identities are compared.

    Examples
    --------
    >>> joined("TCGA-02-0037")
    'tcga020037'
    """
    return _NO_WORD.sub("", text.casefold())


def holds(component: str, words: Mapping[str, str]) -> str | None:
    """Find a patient in one component of a path.

    Parameters
    ----------
    component : str
    words : mapping of str
        Identities, `joined`, to pseudonyms. A word of one or two characters counts only as the whole component.

    Returns
    -------
    str or None
        The pseudonym.

    Examples
    --------
    >>> words = {"smith": "P-1", "smithjohn": "P-1", "pat0017": "P-2", "7": "P-3"}
    >>> [holds(c, words) for c in ("SMITH_JOHN", "JohnSmith1960", "x-PAT-0017-t1", "scan_7.dcm", "7.dcm", "T1")]
    ['P-1', 'P-1', 'P-2', None, 'P-3', None]
    """
    stem = component.split(".")[0] or component
    for whole in (joined(component), joined(stem)):
        if whole in words:
            return words[whole]
    tokens = [token.casefold() for token in _TOKEN.findall(component)]
    for start in range(len(tokens)):
        run = ""
        for token in tokens[start : start + _LONGEST]:
            run += token
            if len(run) > 2 and run in words:
                return words[run]
    return None


def shown_paths(paths: Iterable[str], words: Mapping[str, str], settings: Settings | None = None) -> dict[str, str]:
    """Rewrite paths so that no component holds a patient.

    Parameters
    ----------
    paths : iterable of str
        Relative, with forward slashes.
    words : mapping of str
        Identities, `joined`, to pseudonyms.

    Returns
    -------
    dict of str
        From each path to what may be shown of it; different paths stay different. A folder becomes the
        pseudonym, a file the pseudonym, a keyed mark of its name, and its suffix.
    """
    masked: dict[str, str] = {}
    shown: dict[str, str] = {}
    taken: set[str] = set()

    def mask(component: str, is_file: bool) -> str:
        found = holds(component, words)
        if found is None:
            return component
        if not is_file:
            return found
        suffix = re.search(r"(\.nii\.gz|\.[A-Za-z]{1,5})?$", component)[0]
        return f"{found}-{digest(component, settings).hex()[:8]}{suffix}"

    for path in paths:
        *folders, name = path.split("/")
        for folder in folders:
            if folder not in masked:
                masked[folder] = mask(folder, is_file=False)
        answer = "/".join([*(masked[folder] for folder in folders), mask(name, is_file=True)])
        if answer in taken:
            # Two folders of one patient look alike now.
            answer = f"{answer}~{digest(path, settings).hex()[:8]}"
        taken.add(answer)
        shown[path] = answer
    return shown


@lru_cache(maxsize=4096)
def _pattern(found: tuple[str, ...]) -> re.Pattern | None:
    spelled = [r"[\W_]*".join(map(re.escape, re.findall(r"[^\W_]+", text))) for text in found if len(joined(text)) > 2]
    spelled.sort(key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(spelled)})(?![^\W_])", re.IGNORECASE) if spelled else None


def scrub(text: str, found: tuple[str, ...], instead: str) -> str:
    """Replace a patient in free text, such as a series description, however it is spaced.

    Parameters
    ----------
    text : str
    found : tuple of str
        From `identity`; what has one or two characters is left alone, for it is everywhere.
    instead : str
        The pseudonym.

    Examples
    --------
    >>> scrub("AX T1 SMITH_JOHN pat 0017", ("PAT-0017", "SMITH^JOHN"), "P-1")
    'AX T1 P-1 P-1'
    """
    pattern = _pattern(found)
    return pattern.sub(instead, text) if pattern else text
