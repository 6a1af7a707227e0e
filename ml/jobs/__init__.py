"""One module per step that a user can run.

A job may import from every other folder of `ml`. Only the command line imports jobs.
"""
