-- Models and rules under the names that a reader knows them by.
select
    *,
    replace(replace(replace(model_name, 'tifu_knn', 'TIFU-KNN'), 'up_cf', 'UP-CF'), '_', ' ') as model
from rpt_model_comparison
