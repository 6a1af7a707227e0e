"""Simulated orders in Instacart's format and a simulated web shop, with true probabilities.

The package imports nothing else from Restock except `ml.errors`.
"""
