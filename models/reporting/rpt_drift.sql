-- A stub until the profiles of the features exist.
select
    cast(null as varchar) as task,
    cast(null as varchar) as feature,
    cast(null as varchar) as kind,
    cast(null as double) as psi,
    cast(null as double) as threshold
where false
