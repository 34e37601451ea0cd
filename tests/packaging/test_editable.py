"""An editable install, which every tool can follow: static paths to the checkout, and no code that runs at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from .installs import SITE, Venv, copy_checkout

FOLDERS = ("generated", "generator", "runtime")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("editable") / "checkout")


@pytest.fixture(scope="module")
def venv(checkout: Path) -> Venv:
    venv = Venv.make(checkout.parent / "venv")
    # As `scripts/bootstrap.py` does it, where the build's own needs are this environment's.
    options = ("--no-deps", "--no-build-isolation", "--ignore-installed")
    venv.pip_install(*options, "--editable", checkout, env={"PYTHONPATH": SITE})
    return venv


def test_it_is_one_file_of_static_paths(checkout: Path, venv: Venv) -> None:
    (file,) = venv.site.glob("*.pth")
    assert sorted(file.read_text().splitlines()) == [str(checkout / folder) for folder in FOLDERS]
    assert not list(venv.site.glob("__editable__*"))


def test_it_copies_nothing_that_could_grow_old(venv: Venv) -> None:
    left = [path.name for path in venv.site.iterdir() if path.suffix not in (".pth", ".dist-info")]
    assert not left, f"site-packages holds a copy of {left}"


def test_its_templates_and_catalogue_are_those_of_the_checkout(checkout: Path, venv: Venv) -> None:
    env = {"PYTHONPATH": SITE}
    shown = venv.evaluate("fal_codegen.render.templates_folder()", imports="fal_codegen.render", env=env)
    assert shown == str(checkout / "templates")
    shown = venv.evaluate("fal_sandbox.default_catalog_path()", imports="fal_sandbox", env=env)
    assert shown == str(checkout / "generated" / "schemas")
    shown = venv.evaluate("fal_endpoints.__file__, fal_runtime.__file__", imports="fal_endpoints, fal_runtime", env=env)
    package = checkout / "generated" / "fal_endpoints" / "__init__.py"
    assert shown == str((str(package), str(checkout / "runtime" / "fal_runtime" / "__init__.py")))
