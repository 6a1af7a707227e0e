-- The model in production, beside the two that it is judged by.
select
    production.*,
    production.calibration_error_share as calibration_error_pct2,
    frequency.auc as frequency_auc,
    frequency.precision_at_5_share as frequency_precision_share,
    ceiling.precision_at_5_share as ceiling_precision_share,
    production.precision_at_5_share / ceiling.precision_at_5_share as of_ceiling_share
from ${summary} as summary
left join rpt_model_comparison as production
    on production.is_production and production.is_shown
left join rpt_model_comparison as frequency
    on frequency.run_id = production.run_id and frequency.model_name = 'personal_frequency'
left join rpt_model_comparison as ceiling
    on ceiling.run_id = production.run_id and ceiling.model_name = 'ceiling'
