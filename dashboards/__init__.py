"""The dashboards: pages in markdown, their queries, and the renderer that draws them."""
