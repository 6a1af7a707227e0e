"""Model versions, releases, and the symbolic links that publish them.

May import `ml.modelling`, `ml.warehouse`, `ml.settings` and `ml.errors`.
"""
