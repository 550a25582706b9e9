"""The laboratory: arms × data sets × seeds, from flags to tables, for any paper's experiments.

An experiment says what its arms are and what it makes of the rows; `main` does the rest:

    EXPERIMENT = lab.Experiment("mine", arms=arms, make=make)
    if __name__ == "__main__":
        lab.main(EXPERIMENT)
"""

from sam_jax.lab.arms import Arm, Experiment, Job
from sam_jax.lab.flags import Flag, Options
from sam_jax.lab.results import Results
from sam_jax.lab.run import main

__all__ = ["Arm", "Experiment", "Flag", "Job", "Options", "Results", "main"]
