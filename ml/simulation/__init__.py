"""Simulated orders in Instacart's format, with the true probability of every purchase.

The package imports nothing else from Restock except `ml.errors`.
"""
