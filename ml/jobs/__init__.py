"""One module per step that a user can run.

A job may import every room below it; only the command line imports jobs.
"""
