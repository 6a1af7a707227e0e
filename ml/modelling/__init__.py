"""Models, calibration, baselines, baskets and metrics: arrays in, arrays out.

Imports nothing of ours but `ml.errors`.
"""
