"""The site that `make docs` builds: the pages of this folder, as they are on GitHub,
and a reference from the docstrings."""

import ast
import inspect
import re
import textwrap
from importlib import metadata
from types import FunctionType, MappingProxyType
from typing import Any, Literal, get_args, get_origin

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

import jax_fused_ssim
from jax_fused_ssim import conventions, sharded

project = "jax_fused_ssim"
author = "The jax_fused_ssim authors"
copyright = author
release = version = metadata.version(project)

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]

# Anchors of headings as GitHub makes them.
myst_heading_anchors = 3
nb_execution_mode = "off"
# Quotes are of strings; of dashes Sphinx writes some itself.
smartquotes_action = "D"

default_role = "py:obj"
add_module_names = False
autodoc_typehints = "none"
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "auto"}
html_theme_options = {"navbar_persistent": [], "use_download_button": False}


class _Literals(ast.NodeTransformer):
    """Writes out names of strings to choose from."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        alias = self.names.get(node.id)
        if not any(get_origin(a) is Literal for a in (alias, *get_args(alias))):
            return node
        return ast.parse(str(alias).replace("typing.", ""), mode="eval").body


def signature_of_source(
    app: Sphinx, what: str, name: str, obj: Any, *_: Any
) -> tuple[str, str] | None:
    """Annotations by the names that the source has, which autodoc would spell out."""
    if not isinstance(obj, FunctionType):
        return None
    tree = ast.parse(textwrap.dedent(inspect.getsource(obj)))
    function = _Literals(obj.__globals__).visit(tree).body[0]
    return f"({ast.unparse(function.args)})", ast.unparse(function.returns)


def to_rest(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are text with `names` and indented formulas; reST has more marks."""
    if isinstance(obj, MappingProxyType):
        keywords = ", ".join(f"{name}={value!r}" for name, value in obj.items())
        lines.insert(0, f"``{keywords}``\n")
    sections = re.split(r"(?m)^(?=[A-Z]\w+:$)", "\n".join(lines))
    formula = r"(?m)(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)"
    parts = re.split(formula, sections[0])
    parts[1::2] = [f"::\n\n{part}" for part in parts[1::2]]
    parts[::2] = [_escaped(part) for part in parts[::2]]
    lines[:] = "".join([*parts, *map(_escaped, sections[1:])]).split("\n")


def _escaped(text: str) -> str:
    """Without emphasis and substitutions, but in `names`."""
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"[*|]", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


PUBLIC_NAMES = {
    *jax_fused_ssim.__all__,
    *(f"conventions.{name}" for name in conventions.__all__),
    *(f"sharded.{name}" for name in jax_fused_ssim.__all__ if hasattr(sharded, name)),
}


class LinkedNames(SphinxTransform):
    """Links `fused_ssim` and the like, on every page, to the reference."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            if isinstance(node.parent, pending_xref | nodes.reference | nodes.title):
                continue
            if node.astext().removesuffix("()") in PUBLIC_NAMES:
                xref = pending_xref(
                    refdomain="py",
                    reftype="obj",
                    reftarget=node.astext().removesuffix("()"),
                    refexplicit=True,
                    refdoc=self.env.docname,
                    refwarn=False,
                )
                node.replace_self(xref)
                xref += node


def reference_in_package(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """`sharded.fused_ssim` and the like, from any module."""
    target = f"{project}.{node['reftarget']}"
    python = env.domains.python_domain
    if node.get("refdomain") != "py" or target not in python.objects:
        return None
    return python.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, content
    )


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", signature_of_source)
    # Before napoleon, which makes reST of the sections.
    app.connect("autodoc-process-docstring", to_rest, priority=400)
    app.add_transform(LinkedNames)
    app.connect("missing-reference", reference_in_package)
