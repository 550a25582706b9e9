"""Strict numerics for every test: no silent broadcasting of ranks, no reduced precision, two devices.

Warnings are errors by pyproject.toml. float32 is the users' default and stays the tests' default; an
exact check asks for the fixture `float64`.
"""

import os

# Before jax is imported, which reads this once.
if "xla_force_host_platform_device_count" not in (flags := os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=2".strip()

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # some accelerators round float32 products


@pytest.fixture
def float64():
    """Double precision inside one test; whole modules ask by `pytestmark = pytest.mark.usefixtures("float64")`."""
    with jax.enable_x64(True):
        yield
