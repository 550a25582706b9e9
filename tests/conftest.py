"""Strict numerics for every test: no silent broadcasting of ranks, no reduced precision, two devices.

Warnings are errors by pyproject.toml. float32 is the users' default and stays the tests' default; an
exact check asks for the fixture `float64`.
"""

import atexit
import dataclasses
import importlib.metadata
import os
import shutil
import tempfile

# Before jax is imported, which reads this once; the scripts that tests start inherit it. Tests compile many
# tiny programs, whose optimisation costs more than it saves. What is given already comes last and wins.
# A flag that XLA does not know ends the process without a word from pytest: jaxlib 0.11 dropped the one on fusion.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0 "
    + ("--xla_cpu_use_fusion_emitters=false " if importlib.metadata.version("jaxlib") < "0.11" else "")
    + "--xla_cpu_parallel_codegen_split_count=1 "
    + os.environ.get("XLA_FLAGS", "")
)

# Many tests compile the same program: the processes of a run share what they have compiled.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import official_files as files
import pytest

from sam_jax.data import datasets, downloads

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # some accelerators round float32 products


@pytest.fixture
def float64():
    """Double precision inside one test; whole modules ask by `pytestmark = pytest.mark.usefixtures("float64")`."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def small(monkeypatch):
    """Puts a small version of a registered set into the registry, with archives made of files."""

    def put(name, train, test, paths=None, val=None):
        spec = datasets.REGISTRY[name]
        archives = tuple(files.as_archive(path) for path in paths) if paths else spec.archives
        spec = dataclasses.replace(
            spec,
            train_size=len(train[0]),
            val_size=None if val is None else len(val[0]),
            test_size=len(test[0]),
            shape=train[0].shape[1:],
            archives=archives,
        )
        monkeypatch.setitem(datasets.REGISTRY, name, spec)
        return spec

    return put


@pytest.fixture
def no_download(monkeypatch):
    """Fails a test that would ask the network."""

    def refuse(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(downloads, "download", refuse)
