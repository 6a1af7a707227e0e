"""What was trained and what is published: model versions, releases, and the links to both.

May import `ml.modelling`, `ml.warehouse`, `ml.settings` and `ml.errors`.
"""
