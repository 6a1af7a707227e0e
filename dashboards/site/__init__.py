"""The dashboard renderer: it turns markdown pages, their SQL and a warehouse into static files.

It imports nothing from the rest of the project, `ml` included. A module here imports only those
listed above it in the table "Renderer" of dashboards/README.md.
"""

from .build import Site
from .errors import SiteError
from .parse import parse_page

__all__ = ["Site", "SiteError", "parse_page"]
