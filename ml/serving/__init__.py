"""Answers for one shopper: the index of a release, live scores, and the REST API.

May import `ml.registry`, `ml.modelling`, `ml.sources`, `ml.warehouse`, `ml.settings` and
`ml.errors`. Only `server`, `api`, `schema` and `middleware` need the packages of the extra
``serve``.
"""
