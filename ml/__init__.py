"""Restock predicts what each shopper will buy again, from a retailer's own order history."""
