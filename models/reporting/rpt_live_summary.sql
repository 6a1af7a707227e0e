-- A stub until `ml.outcomes` exists.
select
    cast(null as varchar) as model_version,
    cast(null as bigint) as order_count,
    cast(null as double) as f1_drop_share,
    cast(null as double) as f1_drop_low_share,
    cast(null as double) as log_loss_rise_share,
    cast(null as double) as log_loss_rise_low_share
where false
