"""Models, calibration, baselines, baskets and metrics, as functions of arrays.

The package imports nothing else from Restock except `ml.errors`.
"""
