"""Answers for one shopper: the index of a release, live scores, the REST API, and documents.

May import `ml.registry`, `ml.modelling`, `ml.sources`, `ml.warehouse`, `ml.settings` and
`ml.errors`. Only `server`, `api`, `schema` and `middleware` need the packages of the extra
``serve``, and `redis_store` and `postgres_store` those of ``redis`` and ``postgres``.
"""
