"""A search's rungs: trials with several seeds each, so many images and epochs; every process trains its share."""

import time

import processes
import runner
from options import FLAGS

from sam_jax import RULES, inputs, records, sweep


def order(row: dict) -> tuple:
    """The order of a search's rows: data set, rule, stage (rungs, then factors), trial, seed."""
    return (
        row["dataset"],
        list(RULES).index(row["rule"]),
        row["stage"][0] == "f",
        row["stage"],
        row["trial"],
        row["seed"],
    )


def rung_of(text: str) -> tuple[int, int]:
    """`10000x3` -> (10000, 3)."""
    images, _, epochs = text.partition("x")
    if not (images.isdecimal() and epochs.isdecimal() and int(images) and int(epochs)):
        raise ValueError(f"{text!r} is no rung, expected IMAGESxEPOCHS, as in 10000x3")
    return int(images), int(epochs)


class Search:
    """The rows of a search's folder, and the rungs that are still to be run on a data set's images."""

    def __init__(self, folder, data):
        self.folder, self.data = folder, data
        self.rows = records.read(folder)[1]

    def rung(self, dataset, rule, stage, trials: list[dict], images: int, epochs: int) -> list[float]:
        """The scores of the trials of one rung, trained unless the folder has them."""
        key = {"dataset": dataset.name, "rule": rule, "stage": stage}
        missing = [place for place in range(len(trials)) if len(self.of(key, place)) < FLAGS.seeds]
        if places := processes.share(missing):
            protocol = runner.protocol_of(runner.Arm(rule), dataset)
            protocol = protocol._replace(epochs=epochs, evaluate_every=epochs, warmup_epochs=min(2.0, epochs / 3))
            splits = self.data.splits
            train = inputs.Split(*(array[:images] for array in splits["train"]))
            data = self.data._replace(splits={"train": train, "val": splits["val"]})
            start = time.perf_counter()
            settings = [sweep.settings_of(rule, trials[place]) for place in places]
            found = sweep.trials_at_once(protocol, settings, data, list(range(FLAGS.seeds)))
            seconds = round((time.perf_counter() - start) / (len(places) * FLAGS.seeds), 4)
            common = {"images": min(images, len(splits["train"].images)), "epochs": epochs, "seconds": seconds}
            rows = [
                {**key, **common, "trial": place, "seed": seed, **result, "numbers": trials[place]}
                for place, results in zip(places, found, strict=True)
                for seed, result in enumerate(results)
            ]
            records.append(self.folder, rows, processes.part())
        if missing:
            processes.wait(lambda: self.has(key, len(trials)))
        return [sweep.score(self.of(key, place), 1 / dataset.classes) for place in range(len(trials))]

    def of(self, key: dict, place: int) -> list[dict]:
        """A trial's rows, one for each seed."""
        return [row for row in self.rows if {**key, "trial": place}.items() <= row.items()]

    def has(self, key: dict, trials: int) -> bool:
        """Whether the rows of so many trials are in the folder, this process's and the others'."""
        self.rows = records.read(self.folder)[1]
        return all(len(self.of(key, place)) >= FLAGS.seeds for place in range(trials))
