"""What each field of a run's configuration is called and means, in few words: for the form and the command line."""

from core.images import MODEL_SIZE

#: Field → its name, and what it means.
WORDS = {
    "name": ("Name", "What the run is called."),
    "kind": ("Kind", "transfer, dual, bayesian or siamese."),
    "cohort": ("Cohort", "The indexed cohort to learn from."),
    "label": ("Label", "What to learn. plane-sequence makes one class of each pair, for example axial-T2."),
    "backbone": ("Backbone", "slicescope is small and quick; the others are Keras' own and want more time and memory."),
    "weights": (
        "Start from",
        "slicescope: the shipped weights, and what they know of the classes. imagenet: fetched once from the network. "
        "none: random numbers. Or a .keras or .weights.h5 file of that backbone.",
    ),
    "image_size": (
        "Image size",
        f"Pixels along a side; the shipped weights were made at {MODEL_SIZE}, ResNet50 at 224.",
    ),
    "epochs": ("Epochs", "Passes over the training slices with the backbone frozen."),
    "fine_tune_epochs": (
        "Fine-tuning epochs",
        "A second stage that also trains the backbone: slower, sometimes better. 0 leaves it out.",
    ),
    "batch_size": ("Batch size", "Slices a step."),
    "learning_rate": ("Learning rate", "Length of a step in the first stage."),
    "fine_tune_rate": ("Fine-tuning rate", "Learning rate of fine-tuning, as a share of the first stage's."),
    "dropout": ("Dropout", "Share of units switched off at each step; what Monte-Carlo passes switch, too."),
    "augment_views": ("Changed views", "Changed copies of each training slice, beside the slice itself."),
    "mc_samples": ("MC passes", "Dropout passes a slice that tell how sure the model is."),
    "jury_size": ("Jury size", "Reference slices a class that vote in a Siamese run."),
    "fractions": (
        "Train, validation, test",
        "Shares of patients (of slices, if the split is by slice); they sum to 1.",
    ),
    "random_state": ("Seed", "One seed gives one split and one run."),
    "split": (
        "Split",
        "patient: nobody stands on both sides. cohort: the split that is saved with the cohort. slice: what not to do. "
        "naive: by slice as well, with the patients of patient's test kept aside, for the lesson.",
    ),
    "train_share": ("Training share", "How many of the training patients take part, for learning curves; 1 is all."),
    "optimiser": ("Optimiser", "adam, adamw (with weight decay 0.004) or sgd (with Nesterov momentum 0.9)."),
    "schedule": ("Schedule", "constant, or cosine: the learning rate falls to a hundredth over a stage."),
    "early_stopping": ("Early stopping", "Epochs without a better one that end a stage; 0 never does."),
    "class_balance": (
        "Rare classes",
        "weights: count more, and of a class each patient as much as another. oversample: are repeated, in the "
        "training part alone. none: stay rare.",
    ),
    "label_smoothing": ("Label smoothing", "Share of each training answer that is spread over all classes."),
    "augmentation": (
        "Views change as",
        "scanner: as scanners and heads differ. original: shifts, turns, zoom and brightness of the original project.",
    ),
    "pair_loss": (
        "Pair loss",
        "binary: is it the same class? contrastive: equals close together, others at least a margin apart.",
    ),
    "margin": (
        "Margin",
        "Distance from which the contrastive loss leaves unequal pairs alone; 2 is the largest there is.",
    ),
    "mixed_precision": (
        "Mixed precision",
        "Compute the backbone in half precision: quicker on GPUs and some processors, slower on others.",
    ),
    "devices": ("Devices", "Devices of this machine that share each batch."),
    "preset": ("Preset", "The recipe to start from; every choice can be changed."),
}
