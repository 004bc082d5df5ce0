"""How Sphinx builds the documentation: ``make docs``."""
# ruff: noqa: INP001 (Sphinx runs this file; it is no package)

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from sphinx.application import Sphinx

# Airflow writes a configuration file when it is imported, and logs where it is.
os.environ["AIRFLOW_HOME"] = str(Path(__file__).parent / "_build" / "airflow")
logging.getLogger("airflow").setLevel(logging.WARNING)

import airflow_respan  # noqa: E402 (after these settings)

project = "airflow-respan"
author = "the authors of airflow-respan"
copyright = author  # noqa: A001 (Sphinx reads it by this name)
version = release = airflow_respan.__version__
html_title = f"{project} {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_copy_source = False
pygments_dark_style = "monokai"

# The pages are also read in a repository browser, so they use plain Markdown; links with an anchor are checked.
myst_heading_anchors = 3

# The arguments stand in the class's docstring, and types beside them.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
maximum_signature_line_length = 60

# Short names in the signatures of the hook.
autodoc_type_aliases = {
    "Batch": "airflow_respan.api.batch.Batch",
    "BatchPage": "airflow_respan.api.page.BatchPage",
    "RespanFile": "airflow_respan.api.file.RespanFile",
}

DOCUMENTED = (
    r"hooks\.respan|(sensors|triggers|operators)\.batch|exceptions|get_provider_info|sandbox"
    r"|api\.(batch|page|file|tracking)"
)
nitpick_ignore_regex = [
    # Python, Airflow, aiohttp and pendulum: the build has no network, hence no inventories of other projects.
    (r"py:.*", r"(?!airflow_respan\b).*"),
    # Internal modules have no page; docstrings name them for readers of the code. What has a page is checked.
    (r"py:.*", rf"airflow_respan\.(?!({DOCUMENTED})\.[A-Z]\w*(\.\w+)?$).*"),
    # An item of a page is for the poller; `batches` gives the same to everybody else.
    (r"py:.*", r"airflow_respan\.api\.page\.PageItem"),
]

ROOT = Path(__file__).parent.parent
DOCS = Path(__file__).parent

# Pages whose text lives elsewhere in the repository. Their files in docs/ lead there, for readers without a build.
ELSEWHERE = {
    "benchmark-results": ROOT / "dev/benchmark/results.md",
    "changelog": ROOT / "CHANGELOG.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    "security": ROOT / "SECURITY.md",
}
PAGES = {path: page for page, path in ELSEWHERE.items()}


def prepare(_app: Sphinx, page: str, source: list[str]) -> None:
    """Fill in the text of pages whose source is elsewhere in the repository."""
    text, folder = source[0], (DOCS / page).parent
    if page in ELSEWHERE:
        text, folder = ELSEWHERE[page].read_text(encoding="utf-8"), ELSEWHERE[page].parent

    def from_here(link: re.Match[str]) -> str:
        target, hash_, anchor = link["target"].partition("#")
        path = (folder / target).resolve()
        path = DOCS / f"{PAGES[path]}.md" if path in PAGES else path
        return f"]({os.path.relpath(path, (DOCS / page).parent)}{hash_}{anchor})"

    source[0] = re.sub(r"\]\((?P<target>(?!https?:|#)[^)\s]+)\)", from_here, text)


def setup(app: Sphinx) -> None:
    """Register what this file adds to Sphinx."""
    app.connect("source-read", prepare)
