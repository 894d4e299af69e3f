"""Hooks of mkdocs.yml: one site of the pages in docs/, the pages elsewhere, and the docstrings.

Pages are written to be read in the repository, with links between its files. The site has some
of these files as pages; a link to any other file leads to the repository itself, whose address is
`repo_url`. Where that isn't known, such a link becomes plain text. Nothing is fetched.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "projects/imTED/imted"

# Pages that stand outside of docs/, by their place in the repository and in the site.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "datasets/README.md": "datasets.md",
    "projects/imTED/README.md": "method.md",
    "projects/imTED/weights/README.md": "weights.md",
}
# The index of docs/ is for readers of the repository; the site has its navigation.
ALIASES = {"docs/README.md": "index.md"}

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of docs/, and one page of reference for each package."""
    for path, uri in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for uri, content in reference_pages().items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **kwargs: Any) -> str:
    """Turn a page's links between files of the repository into links of the site."""
    places = {uri: path for path, uri in ELSEWHERE.items()}
    path = places.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = FENCE.split(markdown)
    for number in range(0, len(parts), 2):  # between the blocks of code
        parts[number] = LINK.sub(lambda link: _rewrite(link, path, page, config), parts[number])
    return "".join(parts)


def reference_pages() -> dict[str, str]:
    """Write a page of mkdocstrings' directives for each package, and one for single modules."""
    pages = {}
    for folder in sorted(p for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()):
        modules = sorted(p for p in folder.rglob("*.py") if not p.name.startswith("_"))
        pages[f"reference/{folder.name}.md"] = _directives(f"imted.{folder.name}", modules)
    single = sorted(p for p in PACKAGE.glob("*.py") if not p.name.startswith("_"))
    pages["reference/modules.md"] = _directives("imted", single)
    return pages


def _directives(title: str, modules: list[Path]) -> str:
    names = [".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in modules]
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in names)])


def _rewrite(link: re.Match[str], path: str, page: Page, config: MkDocsConfig) -> str:
    """Return a link of the page at `path` as the site needs it."""
    mark, text, target = link.groups()
    file, _, anchor = target.partition("#")
    if not file or re.match(r"[a-z]+:", target):
        return link[0]
    place = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
    uri = {**ELSEWHERE, **ALIASES}.get(place) or place.removeprefix("docs/")
    if uri != place:  # a file of the site
        relative = os.path.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"{mark}[{text}]({relative}{'#' + anchor if anchor else ''})"
    if not config.repo_url:
        return text
    return f"{mark}[{text}]({config.repo_url.rstrip('/')}/blob/main/{place})"
