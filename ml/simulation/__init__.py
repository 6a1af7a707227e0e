"""Made-up orders in Instacart's files, with the true probability of every purchase.

Imports nothing of ours but `ml.errors`.
"""
