-- One row, of nulls if no test shopper was evaluated.
select tested.*, tested.predicted_share as predicted_pct2, tested.observed_share as observed_pct2
from ${summary} as summary
left join rpt_test_summary as tested on true
