"""What is known of the public data sets: files and their sums, sizes, licences, citations.

Facts only; `sam_jax.data.datasets` finds, checks and caches. Sizes and SHA-256 sums are those that
tensorflow-datasets 4.9.10 ships for the same files. Where they come from otherwise:

- Fashion-MNIST's and STL-10's https addresses: pytorch/vision pull request 9631, which fetched them
  and compared them with the published sums. It leaves SVHN's host at http, and so do we.
- MedMNIST's URLs: the publisher's medmnist/info.py, which gives MD5 sums alone. Their sizes and
  SHA-256 sums: for ChestMNIST the Git LFS pointers of github.com/sheff2/data and of
  huggingface.co/datasets/albertvillanova/medmnist-v2, which agree; for PathMNIST an audit in a
  public repository that states size, SHA-256 and the publisher's MD5 of one file.
- Unzipped idx files: SHA-256 of the idx header and the arrays; MNIST's are widely published.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from sam_jax.data import formats

Task = Literal["single-label", "multi-label"]

# Fixed for good: the same images are held out on every machine and in every release.
SPLIT_SEED = 0
VALIDATION_EVERY = 10  # one training example in ten, where the publisher has no validation split


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file that a publisher offers. `size` in bytes; sums in lower-case hex.

    >>> from sam_jax.data import datasets
    >>> archive = datasets.REGISTRY["cifar10"].archives[0]
    >>> archive.file_name, archive.size, len(archive.sha256)
    ('cifar-10-binary.tar.gz', 170052171, 64)

    unzipped: the sum of what a .gz file holds, where it may also lie in the data folder unzipped.
    """

    url: str
    file_name: str
    size: int
    sha256: str
    unzipped: str | None = None

    def names(self) -> tuple[str, ...]:
        """What the file may be called in the data folder: unzipped, some unpackers write a dot."""
        if self.unzipped is None:
            return (self.file_name,)
        plain = self.file_name.removesuffix(".gz")
        return self.file_name, plain, plain.replace("-idx", ".idx")


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is known of a public data set.

    train_size counts the publisher's training images; where val_size is None a tenth of them
    becomes the validation split. shape: (H, W, C). parse: the archives' paths, in their order, to
    the arrays of `sam_jax.data.formats`. auc: the publisher reports the macro AUC beside the accuracy.

    >>> from sam_jax.data import datasets
    >>> mnist = datasets.REGISTRY["mnist"]
    >>> mnist.train_size, mnist.examples, mnist.shape, mnist.classes
    (60000, 54000, (28, 28, 1), 10)
    """

    name: str
    title: str
    archives: tuple[Archive, ...]
    train_size: int
    val_size: int | None
    test_size: int
    shape: tuple[int, int, int]
    classes: int
    task: Task
    licence: str
    citation: str
    parse: Callable[[Sequence[pathlib.Path]], formats.Arrays]
    auc: bool = False

    @property
    def examples(self) -> int:
        """The training images that are left once the validation split is cut."""
        return self.train_size - (0 if self.val_size else self.train_size // VALIDATION_EVERY)


def held_out(labels: np.ndarray, every: int) -> np.ndarray:
    """Rows (sorted) of one example in `every`, from each class its share to within one example.

    labels: [N], or multi-label rows [N, K], which have no one class and are drawn from all alike.
    The examples are shuffled, put in order of their class, and every `every`-th is taken: the total
    is exact, and a class with a single example is no special case. RandomState, because NumPy
    promises never to change its stream.

    >>> import numpy as np
    >>> from sam_jax.data import catalogue
    >>> labels = np.array([0] * 10 + [1] * 20)
    >>> labels[catalogue.held_out(labels, every=5)].tolist()
    [0, 0, 1, 1, 1, 1]
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[every - 1 :: every] if len(order) >= every else order[-1:])


def digits(paths: Sequence[pathlib.Path] = ()) -> formats.Arrays:
    """scikit-learn's digits: 0..16 -> round(v 255/16), one to one; we cut a fifth as test split.

    >>> from sam_jax.data import catalogue
    >>> arrays = catalogue.digits()
    >>> {name: array.shape for name, array in arrays.items() if "images" in name}
    {'train_images': (1438, 8, 8, 1), 'test_images': (359, 8, 8, 1)}
    """
    import sklearn.datasets  # slow to import, and only this data set needs it

    del paths  # they lie in scikit-learn's package
    found = sklearn.datasets.load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    test = held_out(found.target, every=5)
    return {
        "train_images": np.delete(images, test, axis=0),
        "train_labels": np.delete(found.target, test),
        "test_images": images[test],
        "test_labels": found.target[test],
    }


def _archives(folder: str, table: str, unzipped: str = "") -> tuple[Archive, ...]:
    """Archives below one URL; a line of the table is: file name, bytes, SHA-256. `unzipped`: sums in their order."""
    rows = [line.split() for line in table.strip().splitlines()]
    plain: Sequence[str | None] = unzipped.split() or [None] * len(rows)
    return tuple(
        Archive(folder + name, name, int(size), sha, inside)
        for (name, size, sha), inside in zip(rows, plain, strict=True)
    )


def _zenodo(name: str, size: int, sha256: str) -> tuple[Archive, ...]:
    url = f"https://zenodo.org/records/10519652/files/{name}.npz?download=1"
    return (Archive(url, f"{name}.npz", size, sha256),)


_ten_classes = functools.partial(Spec, classes=10, task="single-label", val_size=None)

_SPECS = (
    _ten_classes(
        name="mnist",
        title="MNIST",
        archives=_archives(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            """
train-images-idx3-ubyte.gz 9912422 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
train-labels-idx1-ubyte.gz 28881 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
t10k-images-idx3-ubyte.gz 1648877 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
t10k-labels-idx1-ubyte.gz 4542 f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
""",
            unzipped="""
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
""",
        ),
        train_size=60_000,
        test_size=10_000,
        shape=(28, 28, 1),
        licence="none stated",
        citation="LeCun, Bottou, Bengio and Haffner 1998, Proceedings of the IEEE 86(11)",
        parse=formats.idx,
    ),
    _ten_classes(
        name="fashion_mnist",
        title="Fashion-MNIST",
        archives=_archives(
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
            """
train-images-idx3-ubyte.gz 26421880 3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
train-labels-idx1-ubyte.gz 29515 a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
t10k-images-idx3-ubyte.gz 4422102 346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
t10k-labels-idx1-ubyte.gz 5148 67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
""",
            unzipped="""
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
""",
        ),
        train_size=60_000,
        test_size=10_000,
        shape=(28, 28, 1),
        licence="MIT",
        citation="Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
        parse=formats.idx,
    ),
    _ten_classes(
        name="cifar10",
        title="CIFAR-10",
        # The binary version: the Python version is a pickle, and unpickling a download runs it.
        archives=_archives(
            "https://www.cs.toronto.edu/~kriz/",
            """
cifar-10-binary.tar.gz 170052171 c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd
""",
        ),
        train_size=50_000,
        test_size=10_000,
        shape=(32, 32, 3),
        licence="none stated; cite Krizhevsky 2009",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        parse=formats.cifar10_binary,
    ),
    _ten_classes(
        name="svhn",
        title="SVHN, cropped digits",
        archives=_archives(
            "http://ufldl.stanford.edu/housenumbers/",
            """
train_32x32.mat 182040794 435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8
test_32x32.mat 64275384 cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b
""",
        ),
        train_size=73_257,
        test_size=26_032,
        shape=(32, 32, 3),
        licence="non-commercial use only",
        citation="Netzer et al. 2011, Reading digits in natural images, NIPS workshop",
        parse=formats.svhn_cropped,
    ),
    _ten_classes(
        name="stl10",
        title="STL-10, labelled images",
        archives=_archives(
            "https://ai.stanford.edu/~acoates/stl10/",
            """
stl10_binary.tar.gz 2640397119 f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866
""",
        ),
        train_size=5_000,
        test_size=8_000,
        shape=(96, 96, 3),
        licence="none stated; cite Coates 2011",
        citation="Coates, Ng and Lee 2011, An analysis of single-layer networks, AISTATS",
        parse=formats.stl10_binary,
    ),
    Spec(
        name="chestmnist",
        title="ChestMNIST (MedMNIST v2)",
        archives=_zenodo(
            "chestmnist",
            size=82_802_576,
            sha256="12c11b8956805ea3151f0ce7b4e64e634d4f5fce87fe72b7e084ebe5a48d33df",
        ),
        train_size=78_468,
        val_size=11_219,
        test_size=22_433,
        shape=(28, 28, 1),
        classes=14,
        task="multi-label",
        licence="CC BY 4.0",
        citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41",
        parse=formats.npz,
        auc=True,
    ),
    Spec(
        name="pathmnist",
        title="PathMNIST (MedMNIST v2)",
        archives=_zenodo(
            "pathmnist",
            size=205_615_438,
            sha256="81823f52dc622e69db2db4c72f8e8e617938dd6864d3c1f23d4e49724a28ea72",
        ),
        train_size=89_996,
        val_size=10_004,
        test_size=7_180,
        shape=(28, 28, 3),
        classes=9,
        task="single-label",
        licence="CC BY 4.0",
        citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41",
        parse=formats.npz,
        auc=True,
    ),
    _ten_classes(
        name="digits",
        title="Optical recognition of handwritten digits (in scikit-learn)",
        archives=(),
        train_size=1_438,
        test_size=359,
        shape=(8, 8, 1),
        licence="CC BY 4.0 (UCI); scikit-learn, which carries them, BSD 3-Clause",
        citation="Alpaydin and Kaynak 1998, UCI Machine Learning Repository",
        parse=digits,
    ),
)

REGISTRY: dict[str, Spec] = {spec.name: spec for spec in _SPECS}
