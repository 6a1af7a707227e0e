select * from rpt_test_summary
