"""`--tensorboard`: the rows of a run's folder as they come, for TensorBoard, in `tensorboard/` of the folder.

Each run is a line of its own: `tensorboard --logdir FOLDER/tensorboard`. Numbers are scalars by epoch; what a probe
measures at each layer is a scalar for each, and the histogram of all.
"""

import pathlib
from collections.abc import Iterable

from sam_jax.inputs import SPLITS
from sam_jax.lab import records

FOLDER = "tensorboard"


class Board:
    """Writes rows as events; a context that closes their files."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder / FOLDER
        self.writers: dict = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for writer in self.writers.values():
            writer.close()

    def add(self, name: str, rows: Iterable[dict]) -> None:
        """Writes every measured number of these rows, under `NAME_seedN`; what is null, as after a divergence, is not.

        Raises:
          OSError: it cannot be written.
        """
        for row in rows:
            writer, epoch = self._writer(f"{name}_seed{row['seed']}", row["epoch"]), row["epoch"]
            for column, value in row.items():
                if column in records.IDENTITY or value is None or isinstance(value, str):
                    continue
                if not isinstance(value, list):
                    writer.add_scalar(_tag(column), float(value), epoch)
                    continue
                numbers = [number for number in value if number is not None]
                for layer, number in enumerate(value, 1):
                    if number is not None:
                        writer.add_scalar(f"{column}/layer_{layer}", number, epoch)
                if numbers:
                    writer.add_histogram(column, numbers, epoch)
            writer.flush()

    def _writer(self, name, epoch):
        from tensorboardX import SummaryWriter  # an import that other runs need not wait for

        if name not in self.writers:
            # A run that goes on after an interruption replaces what it had shown from here on.
            self.writers[name] = SummaryWriter(str(self.folder / name), purge_step=epoch or None)
        return self.writers[name]


def _tag(column):
    """`accuracy/test` for `test_accuracy`, so that the splits of a measure share a panel's section."""
    split, _, measure = column.partition("_")
    return f"{measure}/{split}" if split in SPLITS else column
