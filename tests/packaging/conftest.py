"""What the packaging tests install, once for all of them."""

from __future__ import annotations

import sys

import pytest

from .installs import Built, Installed, Venv, copy_checkout, output


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    checkout, dist = copy_checkout(folder / "checkout"), folder / "dist"
    output(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, checkout, cwd=folder)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert sorted(dist.iterdir()) == sorted([wheel, sdist])
    return Built(checkout, wheel, sdist)


@pytest.fixture(scope="session")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    venv = Venv.make(tmp_path_factory.mktemp("installed") / "venv")
    venv.pip_install(built.wheel)
    return Installed(venv, venv.site)
