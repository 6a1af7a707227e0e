{{ propensity('purchase_predictions', days=1) }}
