"""The edges to DuckDB and to dbt: connections, examples as arrays, dbt runs and their manifest.

May import `ml.sources`, `ml.settings` and the modules below those.
"""
