"""Data sets of one's own, as `--dataset=PATH.npz` reads them: two classes, five, and twenty.

python examples/own_images.py data     # writes shirts.npz, five.npz and both.npz into data/, from the images there
python experiments/table1.py --dataset=data/shirts.npz,data/both.npz --tune

A file has train_images and test_images, uint8 [N, H, W], and their labels, counted from 0. The images are MNIST's and
Fashion-MNIST's training and test images, downloaded into the folder if they are not there.
"""

import pathlib
import sys

import numpy as np

import sam_jax as sj

T_SHIRT, SHIRT = 0, 6  # of Fashion-MNIST's classes the two that are hardest to tell apart
EACH = 10_000  # training images of either set in both.npz


def of_classes(dataset, classes):
    """The images of these classes, which become 0, 1, ..."""
    found = {}
    for split, (images, labels) in {"train": dataset.train, "test": dataset.test}.items():
        chosen = np.isin(labels, classes)
        found[f"{split}_images"] = images[chosen]
        found[f"{split}_labels"] = np.searchsorted(np.sort(classes), labels[chosen])
    return found


def both(first, second):
    """The classes of one set, then those of the other; the images mixed, so that any part has all classes."""
    found = {}
    for split, most in (("train", EACH), ("test", None)):
        pair = [getattr(dataset, split) for dataset in (first, second)]
        images = np.concatenate([images[:most] for images, _ in pair])
        labels = np.concatenate([pair[0].labels[:most], pair[1].labels[:most] + first.classes])
        order = np.random.default_rng(0).permutation(len(labels))
        found[f"{split}_images"], found[f"{split}_labels"] = images[order], labels[order]
    return found


def main(folder):
    digits, garments = (sj.load(name, folder) for name in ("mnist", "fashion_mnist"))
    sets = {
        "shirts": of_classes(garments, [T_SHIRT, SHIRT]),
        "five": of_classes(digits, range(5)),
        "both": both(digits, garments),
    }
    for name, arrays in sets.items():
        np.savez_compressed(pathlib.Path(folder) / f"{name}.npz", **arrays)
        images, classes = len(arrays["train_images"]), arrays["train_labels"].max() + 1
        print(f"{name}.npz: {images:,} training images, {classes} classes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("own_images.py: expected the data folder, as in python examples/own_images.py data")
    main(sys.argv[1])
