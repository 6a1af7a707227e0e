"""The dashboard renderer: markdown pages with SQL and components in, static files out.

A page goes through the modules in this order: `parse` reads it; `queries` runs its SQL;
`components` gives a tag's attributes their values, which `formats` shows; `charts` draws; `render`
makes the page's HTML; `build` the files. HTML is in templates/, and the look in assets/, with every
colour in theme.css. How to write a page is in dashboards/README.md.
"""

from .build import Site
from .parse import SiteError, parse_page

__all__ = ["Site", "SiteError", "parse_page"]
