"""The steps of the job, one module each, and what they share.

Jobs import every layer below them. The command line and its console import jobs.
"""
