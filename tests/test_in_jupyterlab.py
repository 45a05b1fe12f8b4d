"""Notebooks as a reader has them: JupyterLab in a browser, all cells run, and a slider moved by keyboard."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ("00_quickstart", "03_stability_cifar10")
MINUTES = 15  # for all cells of one, on a machine with other work to do and an empty store
SETTINGS = ("--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
OUTPUTS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(cell => cell.toJSON())
  .filter(cell => cell.cell_type === "code")
  .map(cell => [cell.execution_count, cell.outputs.map(output => output.output_type)])"""
SHOW = """async text => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const at = notebook.widgets.findIndex(cell => cell.model.type === "code"
    && cell.model.sharedModel.getSource().includes(text));
  notebook.activeCellIndex = at;
  await notebook.scrollToItem(at, "start");
  notebook.widgets[at].node.dataset.shown = text;
}"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a JupyterLab on a copy of the project, with settings of its own: of everyone else's it knows nothing."""
    pytest.importorskip("jupyterlab")
    project = tmp_path_factory.mktemp("project")
    for part in ("notebooks", "figures"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("results", "smoke", "custom"))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    own = {name: str(tmp_path_factory.mktemp(name.lower())) for name in
           ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")}
    paths = {"LMCNB_PROJECT": str(project), "LMCNB_FIGURES": str(project / "figures"), "PYTHONPATH": str(ROOT)}
    token, url = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", *SETTINGS, f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={project}"]
    with (project / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **own, **paths}, stdout=log, stderr=log)
        try:
            _wait_for(server, f"{url}/api?token={token}", project / "lab.log")
            yield f"{url}/lab/tree/notebooks/{{}}.ipynb?token={token}"
        finally:
            server.terminate()  # and with it its kernels
            server.wait(timeout=60)


def _wait_for(server: subprocess.Popen, url: str, log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            with urlopen(url) as answer:
                json.load(answer)
            return
        except (URLError, ConnectionError):
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture(params=NOTEBOOKS)
def notebook(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page of a notebook in JupyterLab after all of its cells have run."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(60_000)
    page.goto(address.format(request.param))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'")
    page.set_default_timeout(MINUTES * 60_000)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(f"({OUTPUTS})().every(([count, kinds]) => count || kinds.includes('error'))")
    page.set_default_timeout(60_000)
    yield page
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()


def test_all_cells_run_and_sliders_redraw(notebook: Any):
    outputs = notebook.evaluate(OUTPUTS)
    assert len(outputs) > 5 and [count for count, _ in outputs] == [*range(1, len(outputs) + 1)]
    assert not [kinds for _, kinds in outputs if "error" in kinds]

    notebook.evaluate(SHOW, "_explorer(")
    cell = "[data-shown='_explorer(']"
    picture, slider = notebook.locator(f"{cell} img").first, notebook.locator(f"{cell} .noUi-handle").last
    before = picture.get_attribute("src")
    slider.focus()
    notebook.keyboard.press("ArrowRight")
    notebook.wait_for_function("([cell, before]) => { const now = document.querySelector(cell + ' img'); "
                               "return now && now.src !== before; }", arg=[cell, before])
    assert "0.10" in notebook.locator(f"{cell} .widget-readout").last.inner_text()

    if "03_" in notebook.url:  # whose result has an explorer that asks no kernel
        notebook.evaluate(SHOW, "figures.explorer(")
        notebook.focus(".lmcnb-x input[name=k]")
        dot = notebook.get_attribute(".lmcnb-x .path .dot", "cx")
        notebook.keyboard.press("ArrowRight")
        assert notebook.inner_text(".lmcnb-x .reading").startswith("At α = 0.60.")
        assert notebook.get_attribute(".lmcnb-x .path .dot", "cx") != dot
