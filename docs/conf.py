"""How Sphinx builds the site: see README.md in this folder."""

import re

from sphinx.util.nodes import make_refnode

import fastbp

project = "fastbp"
author = "the fastbp authors"
project_copyright = author
version = release = fastbp.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["README.md", "_build"]
nitpicky = True  # a reference that leads nowhere is an error
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3

# The reference comes from the docstrings, which are numpydoc's kind. What stands in single backquotes there becomes a
# link where it is the name of something on these pages, and else code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = False  # which numpydoc brings along
numpydoc_show_class_members = False
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"fastbp {release}"
html_copy_source = False


def escape(app, what, name, obj, options, lines):
    """Formulas in docstrings are plain text: |x| is no substitution, name_ no reference, and x *= 2 no emphasis."""
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        pieces = re.split(r"(``.*?``|`.*?`)", line)
        pieces[::2] = (re.sub(r"\||(?<=\w)_(?!\w)|(?<!\S)\*(?=\S)", r"\\\g<0>", piece) for piece in pieces[::2])
        lines[i] = "".join(pieces)


def link_or_code(app, env, node, contnode):
    """A name in backquotes that its own module does not know: one of fastbp itself, or plain code."""
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    found = env.domains.python_domain.find_obj(env, "fastbp", None, node["reftarget"], None)
    if len(found) != 1:
        return contnode
    [(name, place)] = found
    return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, contnode, name)


def setup(app):
    app.connect("autodoc-process-docstring", escape, priority=1)
    app.connect("missing-reference", link_or_code)
