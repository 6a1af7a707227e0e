{{ propensity('purchase_week_predictions', days=7) }}
