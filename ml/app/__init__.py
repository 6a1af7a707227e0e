"""The app: pages of Streamlit about what is published, one module each.

May import everything below `ml.cli` but what prints to a terminal. Only `server` is imported
without the packages of the extra ``app``. A page computes nothing itself: scores come from
`ml.serving`, lists from `ml.jobs.marketing`, and all other figures from ``rpt_`` tables.
"""
