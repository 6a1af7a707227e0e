select * from rpt_score_summary
