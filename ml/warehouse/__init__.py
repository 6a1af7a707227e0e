"""Access to DuckDB and dbt: connections, examples as arrays, dbt runs, and the manifest.

May import `ml.sources`, `ml.settings` and the modules below those.
"""
