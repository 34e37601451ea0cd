"""What is in the wheel and the sdist, and what someone who installs the wheel has, without a checkout in reach."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from fal_sandbox import Sandbox

from .installs import EXTRAS, OF_EXTRAS, ROOT, Built, Installed, files_below, output, run

PACKAGES = {
    "fal_codegen": "generator/fal_codegen",
    "fal_endpoints": "generated/fal_endpoints",
    "fal_runtime": "runtime/fal_runtime",
    "fal_sandbox": "runtime/fal_sandbox",
}
DATA = {"fal_codegen/templates": "templates", "fal_sandbox/catalog": "generated/schemas"}


def test_the_wheel_holds_the_four_packages_with_their_data_and_nothing_else(built: Built) -> None:
    expected = {
        f"{target}/{name}"
        for target, source in (PACKAGES | DATA).items()
        for name in files_below(built.checkout / source)
        if name != "README.md"
    }
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    assert {name for name in names if ".dist-info/" not in name} == expected
    # Some by name, so that a file that goes missing from the checkout is missed here too.
    assert expected > {f"{package}/py.typed" for package in PACKAGES}
    assert expected > {"fal_codegen/templates/module.py.jinja", "fal_codegen/glossary.toml"}
    assert expected > {"fal_endpoints/index.json", "fal_sandbox/catalog/endpoints.lock"}
    assert expected > {f"fal_sandbox/page/{name}" for name in ("index.html", "page.css", "page.js", "form.js")}
    assert expected > {"fal_endpoints/fal_ai/flux_dev.py", "fal_sandbox/catalog/fal-ai/flux/dev.json"}


def test_the_sdist_holds_the_project_without_the_set_up_of_its_ci(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    ours = {name for name in files_below(built.checkout) if not name.startswith((".ci/", ".github/"))}
    assert names == ours | {"PKG-INFO"}


def test_the_metadata_say_what_the_project_says(built: Built, installed: Installed) -> None:
    (found,) = (each for each in importlib.metadata.distributions(path=[str(installed.site)]) if _is_ours(each))
    project = built.project
    assert found.metadata["Name"] == "fal-bindings"
    assert found.metadata["Requires-Python"] == project["requires-python"] == ">=3.11"
    assert found.metadata["License-Expression"] == "MIT"
    assert set(found.metadata.get_all("Provides-Extra") or []) == set(EXTRAS)
    needed = [each for each in found.requires or [] if "extra ==" not in each]
    assert sorted(re.split(r"[<>=]", each)[0] for each in needed) == ["httpx", "httpx-sse", "msgspec", "sniffio"]
    entries = {(entry.group, entry.name, entry.value) for entry in found.entry_points}
    assert entries == {
        ("console_scripts", "fal-bindings", "fal_codegen.__main__:main"),
        ("pytest11", "fal_sandbox", "fal_sandbox.pytest_plugin"),
    }
    assert (found.read_text("licenses/LICENSE") or "").startswith("MIT License")
    assert (found.read_text("METADATA") or "").endswith((built.checkout / "README.md").read_text())


def _is_ours(distribution: importlib.metadata.Distribution) -> bool:
    return distribution.metadata["Name"] == "fal-bindings"


def test_an_installation_without_extras_runs_endpoints(installed: Installed, sandbox: Sandbox, tmp_path: Path) -> None:
    code = """
from fal_endpoints.fal_ai import flux_dev

print(flux_dev.__file__)
print(flux_dev.Input(prompt="x"))
output = flux_dev.subscribe(flux_dev.Input(prompt="x", num_images=2))
print(len(output.images), output.images[0].save("picture").stat().st_size > 0)
"""
    lines = output(installed.venv.python, "-c", code, cwd=tmp_path, env=sandbox.environment()).splitlines()
    file = installed.site / "fal_endpoints" / "fal_ai" / "flux_dev.py"
    assert lines == [str(file), "Input(prompt='x')", "2 True"]
    missing = f"[name for name in {[*OF_EXTRAS]} if importlib.util.find_spec(name) is None]"
    assert installed.venv.evaluate(missing, imports="importlib.util") == str([*OF_EXTRAS])


def test_the_command_names_the_extra_that_it_needs(installed: Installed, tmp_path: Path) -> None:
    for command in ([installed.venv.script("fal-bindings")], [installed.venv.python, "-m", "fal_codegen"]):
        done = run(*command, "check", cwd=tmp_path)
        assert done.returncode == 3  # and not a code that a job in CI may take for a verdict
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("fal-bindings: ")
        assert "pip install 'fal-bindings[generator" in line


def test_the_sandbox_finds_its_catalogue_in_the_installation(installed: Installed) -> None:
    path = Path(installed.venv.evaluate("fal_sandbox.default_catalog_path()", imports="fal_sandbox"))
    assert path == installed.site / "fal_sandbox" / "catalog"
    assert (path / "fal-ai" / "flux" / "dev.json").is_file()


def test_the_sandbox_names_the_extra_that_it_needs(installed: Installed, tmp_path: Path) -> None:
    done = run(installed.venv.python, "-c", "from fal_sandbox import Sandbox\nSandbox().start()", cwd=tmp_path)
    assert done.returncode == 1
    assert "fal-bindings[sandbox]" in done.stderr.splitlines()[-1], done.stderr


def test_the_sandbox_command_names_the_extra_that_it_needs(installed: Installed, tmp_path: Path) -> None:
    # Someone who installed the generator only.
    code = "import sys\nsys.modules['starlette'] = None\nfrom fal_codegen.__main__ import main\nmain()"
    done = run(installed.venv.python, "-c", code, "sandbox", "--port", "0", cwd=tmp_path, env=installed.with_extras)
    assert done.returncode == 1
    assert "fal-bindings[sandbox]" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def test_the_generator_writes_from_an_installation_what_is_committed(installed: Installed, tmp_path: Path) -> None:
    catalog = installed.site / "fal_sandbox" / "catalog"
    lock = (catalog / "endpoints.lock").read_bytes()
    origin = installed.venv.evaluate("fal_codegen.__file__", imports="fal_codegen", env=installed.with_extras)
    assert Path(origin).is_relative_to(installed.site)
    choice = ("--schemas", catalog, "--endpoints", "fal-ai/flux/dev", "--out", "tmp", "--package", "mine")
    command = installed.venv.script("fal-bindings")
    assert "Generated 1 modules" in output(command, "generate", *choice, cwd=tmp_path, env=installed.with_extras)
    names = {"__init__.py", "fal_ai/__init__.py", "fal_ai/flux_dev.py", "index.json", "py.typed"}
    assert files_below(tmp_path) == {f"tmp/mine/{name}" for name in names}
    mine, committed = tmp_path / "tmp" / "mine", installed.site / "fal_endpoints"
    for name in ("fal_ai/__init__.py", "fal_ai/flux_dev.py"):
        assert (mine / name).read_bytes() == (committed / name).read_bytes()
    assert (catalog / "endpoints.lock").read_bytes() == lock
    shown = installed.venv.evaluate(
        "mine.fal_ai.flux_dev.endpoint.id", imports="mine.fal_ai", env={"PYTHONPATH": str(tmp_path / "tmp")}
    )
    assert shown == "fal-ai/flux/dev"


def test_the_sandbox_of_an_installation_answers(installed: Installed, tmp_path: Path) -> None:
    code = """
import os
from fal_endpoints.fal_ai import flux_dev
from fal_sandbox import Sandbox

with Sandbox(queue_seconds=0, run_seconds=0) as sandbox:
    os.environ.update(sandbox.environment())
    print(len(flux_dev.run(flux_dev.Input(prompt="x", num_images=2)).images))
"""
    assert output(installed.venv.python, "-c", code, cwd=tmp_path, env=installed.with_extras) == "2\n"


def test_a_project_has_the_pytest_plugin_by_installing(installed: Installed, tmp_path: Path) -> None:
    project = shutil.copytree(ROOT / "tests" / "projects" / "plugin_user", tmp_path / "project")
    command = (installed.venv.python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "11 passed" in output(*command, cwd=project, env=installed.with_extras)


def test_a_strict_checker_accepts_what_users_write_against_the_installation(
    installed: Installed, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "tests" / "typing" / "right.py", tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    command = (sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", installed.venv.python)
    report = json.loads(run(*command, cwd=tmp_path).stdout)
    assert report["generalDiagnostics"] == []
    assert report["summary"]["filesAnalyzed"] == 1
