"""What a training run is made from; light enough for pages and the queue."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from core.errors import ConfigError
from core.images import MODEL_SIZE

KINDS = ("transfer", "dual", "bayesian", "siamese")
LABELS = ("plane", "sequence", "plane-sequence")
BACKBONES = ("slicescope", "ResNet50", "MobileNetV2", "EfficientNetV2B0")
WEIGHTS = ("slicescope", "imagenet", "none")
WEIGHT_FILES = (".keras", ".weights.h5")
SPLITTINGS = ("patient", "cohort", "slice", "naive")
#: Those of `SPLITTINGS` that put slices of one patient on both sides.
LEAKY = ("slice", "naive")
OPTIMISERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
BALANCES = ("weights", "oversample", "none")
AUGMENTATIONS = ("scanner", "original")
PAIR_LOSSES = ("binary", "contrastive")

#: Fields that are one word of a few.
CHOICES = {
    "kind": KINDS, "label": LABELS, "backbone": BACKBONES, "split": SPLITTINGS, "optimiser": OPTIMISERS,
    "schedule": SCHEDULES, "class_balance": BALANCES, "augmentation": AUGMENTATIONS, "pair_loss": PAIR_LOSSES,
}  # fmt: skip
#: field: (smallest, largest), both allowed
RANGES = {
    "image_size": (32, 512),
    "epochs": (1, 10_000),
    "fine_tune_epochs": (0, 10_000),
    "batch_size": (1, 4096),
    "learning_rate": (1e-7, 1.0),
    "dropout": (0.0, 0.95),
    "augment_views": (0, 64),
    "mc_samples": (1, 1000),
    "jury_size": (1, 1000),
    "random_state": (0, 2**32 - 1),
    "train_share": (0.01, 1.0),
    "early_stopping": (0, 10_000),
    "label_smoothing": (0.0, 0.5),
    "fine_tune_rate": (1e-4, 1.0),
    "devices": (1, 64),
    "margin": (0.1, 2.0),
}
#: Fields of `RANGES` that need not be whole.
_SHARES = ("learning_rate", "dropout", "train_share", "label_smoothing", "fine_tune_rate", "margin")


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    A field that a run does not use is ignored, whatever it says: `ignored` names those, and why.

    Attributes
    ----------
    name : str
        What the run is called; its folder's name is made from it.
    kind : {"transfer", "dual", "bayesian", "siamese"}
    cohort : str
        Name of an indexed cohort.
    label : {"plane", "sequence", "plane-sequence"}
        What to learn. ``dual`` learns plane and sequence with a head each and ignores this.
    backbone : {"slicescope", "ResNet50", "MobileNetV2", "EfficientNetV2B0"}
    weights : {"slicescope", "imagenet", "none"} or path
        Where the backbone starts from; with ``slicescope`` also the heads of ``transfer`` and ``dual``, for classes
        that the shipped model knows. With ``none`` the whole network is trained from the first epoch on,
        because features of a random backbone are worth little. A path names a local ``.keras`` or ``.weights.h5``.
    image_size : int
        Side of the model input in pixels.
    epochs, fine_tune_epochs : int
        Epochs of the head on features of the frozen backbone, and then of the whole network at a low rate.
    batch_size : int
    learning_rate : float
        Of the first stage.
    fine_tune_rate : float
        Fine-tuning's learning rate as a share of the first stage's.
    dropout : float
        Share of features switched off at each step, at least 0 and below 1.
    augment_views : int
        Changed copies of each training slice, beside the slice itself.
    mc_samples : int
        Dropout passes a slice when uncertainty is asked for.
    jury_size : int
        Reference slices a class of a Siamese run.
    fractions : tuple of float
        Shares of patients for train, validation and test; they sum to 1.
    random_state : int
        Seed of split, weights, batches and augmentation.
    split : {"patient", "cohort", "slice", "naive"}
        Deal by patient; take the split that is saved with the cohort; or deal by slice, which is what not to do:
        patients then stand on both sides. ``naive`` does so with the patients that ``patient`` would not test on, and
        keeps those aside unseen: `core.learning.lessons` asks about them what the other slices' scores pretended.
    train_share : float
        Share of the training patients that take part, above 0; for learning curves.
    optimiser : {"adam", "adamw", "sgd"}
    schedule : {"constant", "cosine"}
        How the learning rate goes over a stage.
    early_stopping : int
        Epochs without a better one after which a stage ends; 0 never ends it early.
    class_balance : {"weights", "oversample", "none"}
        What is done about rare classes of the training part; the other parts are never touched. ``weights`` lets each
        class count the same, and of a class each patient. ``oversample`` repeats slices, by plane and sequence at once
        for ``dual``. A Siamese run draws pairs, each class as often as another unless this is ``none``.
    label_smoothing : float
        Share of each training answer that is spread over all classes.
    augmentation : {"scanner", "original"}
        How changed views are made: as scanners and heads differ, or as the original project did.
    pair_loss : {"binary", "contrastive"}
        Of a Siamese run.
    margin : float
        Distance between embeddings of length 1 (0 to 2) from which on the contrastive loss leaves a pair of two
        classes alone.
    mixed_precision : bool
        Compute in half precision where the device gains by it; weights stay in single precision.
    devices : int
        Devices of this machine that share each batch.
    preset : str
        Name of the preset that the form started from, see `core.learning.presets`; empty for none.

    Examples
    --------
    >>> config = RunConfig("planes", "transfer", "phantom", label="plane")
    >>> RunConfig.from_json(config.to_json()) == config
    True
    >>> config.heads
    ('plane',)
    """

    name: str
    kind: str
    cohort: str
    label: str = "sequence"
    backbone: str = "slicescope"
    weights: str = "slicescope"
    image_size: int = MODEL_SIZE
    epochs: int = 20
    fine_tune_epochs: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    dropout: float = 0.3
    augment_views: int = 2
    mc_samples: int = 50
    jury_size: int = 5
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    random_state: int = 0
    split: str = "patient"
    train_share: float = 1.0
    optimiser: str = "adam"
    schedule: str = "constant"
    early_stopping: int = 0
    class_balance: str = "weights"
    label_smoothing: float = 0.0
    augmentation: str = "scanner"
    pair_loss: str = "binary"
    margin: float = 1.0
    fine_tune_rate: float = 0.02
    mixed_precision: bool = False
    devices: int = 1
    preset: str = ""

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads: ``("plane", "sequence")`` for ``dual``, else the label alone."""
        return ("plane", "sequence") if self.kind == "dual" else (self.label,)

    @property
    def ignored(self) -> dict[str, str]:
        """Fields that this run does not use, and why not in a few words.

        Examples
        --------
        >>> sorted(RunConfig("x", "dual", "c").ignored)
        ['fine_tune_rate', 'jury_size', 'label', 'margin', 'pair_loss']
        """
        siamese, contrastive = self.kind == "siamese", self.pair_loss == "contrastive"
        rules = {
            "label": (self.kind == "dual", "dual output learns plane and sequence"),
            "jury_size": (not siamese, "only Siamese runs call a jury"),
            "pair_loss": (not siamese, "only Siamese runs learn from pairs"),
            "margin": (not (siamese and contrastive), "only the contrastive loss has a margin"),
            "label_smoothing": (siamese and contrastive, "the contrastive loss has no answers to smooth"),
            "fine_tune_rate": (not self.fine_tune_epochs, "there are no fine-tuning epochs"),
            "augmentation": (not self.augment_views, "there are no changed views"),
            "fractions": (self.split == "cohort", "the cohort's own split is taken"),
        }
        return {field: why for field, (unused, why) in rules.items() if unused}

    def validate(self) -> None:
        """Check the configuration.

        Raises
        ------
        ConfigError
            Naming the field, what it may be, and what came.
        """
        for field in ("name", "cohort"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"{field} must be a word that is not empty. Received: {value!r}.")
        for field, allowed in CHOICES.items():
            if getattr(self, field) not in allowed:
                raise ConfigError(f"{field} must be one of {', '.join(allowed)}. Received: {getattr(self, field)!r}.")
        for field, (low, high) in RANGES.items():
            value = getattr(self, field)
            whole = field not in _SHARES
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise ConfigError(f"{field} must be a {'whole ' if whole else ''}number. Received: {value!r}.")
            if not low <= value <= high:
                raise ConfigError(f"{field} must lie between {low:g} and {high:g}. Received: {value!r}.")
        if not isinstance(self.mixed_precision, bool):
            raise ConfigError(f"mixed_precision must be true or false. Received: {self.mixed_precision!r}.")
        self._validate_weights()
        self._validate_fractions()

    def _validate_weights(self) -> None:
        known = self.weights in WEIGHTS
        if not known and not str(self.weights).endswith(WEIGHT_FILES):
            raise ConfigError(
                f"weights must be one of {', '.join(WEIGHTS)}, or a local file that ends in .keras or .weights.h5. "
                f"Received: {self.weights!r}."
            )
        wrong = {"slicescope": "imagenet"}.get(self.backbone, "slicescope")
        if self.weights == wrong:
            fitting = "slicescope, none" if self.backbone == "slicescope" else "imagenet, none"
            raise ConfigError(
                f"There are no {self.weights} weights for the backbone {self.backbone}: choose {fitting}, or a file."
            )

    def _validate_fractions(self) -> None:
        shares = self.fractions
        numbers = isinstance(shares, tuple | list) and all(isinstance(share, int | float) for share in shares)
        if not numbers or len(shares) != 3 or min(shares) < 0 or shares[0] == 0 or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(
                "fractions must be three shares (train, validation, test) that sum to 1, with some for train. "
                f"Received: {shares!r}."
            )

    def to_json(self) -> str:
        """Write the configuration as JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str | Path) -> "RunConfig":
        """Read a configuration.

        Parameters
        ----------
        text : str or Path
            JSON text, or a file that holds it.

        Returns
        -------
        RunConfig
            Not validated yet.

        Raises
        ------
        ConfigError
            For text that is not a JSON object, unknown fields, and missing ones.
        """
        if isinstance(text, Path):
            if not text.is_file():
                raise ConfigError(f"There is no configuration file {text.name}. Write one, or give options instead.")
            text = text.read_text(encoding="utf-8")
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"The configuration is not JSON: {error}.") from None
        if not isinstance(values, dict):
            raise ConfigError(f"The configuration must be a JSON object. Received: {type(values).__name__}.")
        names = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - names)
        missing = [name for name in ("name", "kind", "cohort") if name not in values]
        if unknown:
            raise ConfigError(f"Unknown in the configuration: {', '.join(unknown)}. Known: {', '.join(sorted(names))}.")
        if missing:
            raise ConfigError(f"The configuration lacks {', '.join(missing)}.")
        if isinstance(values.get("fractions"), list):
            values["fractions"] = tuple(values["fractions"])
        return cls(**values)
