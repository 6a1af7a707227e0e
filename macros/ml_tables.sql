{#- The tables that the Python package writes. They start empty, so a build needs no trained model. Tables of
the same content exist for each task. -#}
{% macro create_ml_tables() %}
    create schema if not exists ml;
    create table if not exists ml.predictions (
        user_id user_id_type,
        product_id product_id_type,
        reorder_probability float,
        rank_in_user integer,
        in_basket boolean,
        batch_id varchar
    );
    create table if not exists ml.discoveries (
        user_id user_id_type,
        product_id product_id_type,
        purchase_probability float,
        rank_in_user integer,
        batch_id varchar
    );
    create table if not exists ml.discovery_metrics (
        run_id varchar,
        model_name varchar,
        split varchar,
        protocol varchar,
        segment varchar,
        metric varchar,
        value double
    );
    {% for scope in ['', 'purchase_', 'purchase_week_'] %}
        create table if not exists ml.{{ scope }}batches (
            batch_id varchar,
            model_name varchar,
            model_version varchar,
            feature_version varchar,
            cutoff integer,
            rows bigint,
            started_at timestamp,
            finished_at timestamp
        );
        create table if not exists ml.{{ scope }}metrics (
            run_id varchar,
            model_name varchar,
            split varchar,
            protocol varchar,
            segment varchar,
            metric varchar,
            value double
        );
        create table if not exists ml.{{ scope }}calibration_bins (
            run_id varchar,
            model_name varchar,
            split varchar,
            bin integer,
            n bigint,
            mean_predicted double,
            mean_observed double
        );
        create table if not exists ml.{{ scope }}feature_importance (
            run_id varchar,
            model_name varchar,
            feature varchar,
            feature_group varchar,
            auc_loss double
        );
        create table if not exists ml.{{ scope }}audit (
            run_id varchar,
            check_name varchar,
            subject varchar,
            value double,
            threshold double,
            status varchar
        );
    {% endfor %}
    {% for scope in ['purchase_', 'purchase_week_'] %}
        create table if not exists ml.{{ scope }}predictions (
            user_id user_id_type,
            cutoff_at timestamp,
            purchase_probability float,
            rank integer,
            decile integer,
            is_targeted boolean,
            is_held_out boolean,
            batch_id varchar
        );
        create table if not exists ml.{{ scope }}test_predictions (
            run_id varchar,
            user_id user_id_type,
            cutoff_at timestamp,
            purchase_probability float,
            is_targeted boolean
        );
    {% endfor %}
    create table if not exists ml.purchase_lists (
        batch_id varchar,
        user_id varchar,
        cutoff_at timestamp,
        window_end_at timestamp,
        purchase_probability float,
        is_targeted boolean,
        is_held_out boolean
    );
    create table if not exists ml.purchase_outcomes (
        batch_id varchar,
        model_name varchar,
        model_version varchar,
        cutoff_at timestamp,
        window_end_at timestamp,
        shopper_count integer,
        buyer_count integer,
        expected_buyers double,
        targeted_count integer,
        targeted_buyer_count integer,
        targeted_expected_buyers double,
        expected_recall_share double,
        observed_recall_share double,
        expected_precision_share double,
        observed_precision_share double,
        log_loss double,
        held_out_count integer,
        held_out_buyer_count integer,
        held_out_targeted_count integer,
        held_out_targeted_buyer_count integer
    );
    create table if not exists ml.test_predictions (
        run_id varchar,
        user_id user_id_type,
        product_id product_id_type,
        reorder_probability float,
        in_basket boolean
    );
    create table if not exists ml.profiles (
        model_version varchar,
        task varchar,
        feature varchar,
        kind varchar,
        bin integer,
        low double,
        high double,
        row_count bigint,
        median double
    );
    create table if not exists ml.awaited_orders (
        user_id user_id_type,
        batch_id varchar,
        model_version varchar,
        predicted_at timestamp,
        source varchar,
        context_source varchar,
        last_order_number integer,
        last_ordered_at timestamp
    );
    create table if not exists ml.outcomes (
        order_id varchar,
        user_id varchar,
        batch_id varchar,
        model_version varchar,
        predicted_at timestamp,
        context_source varchar,
        ordered_at timestamp,
        pair_count integer,
        expected_units double,
        bought_units integer,
        basket_units integer,
        basket_bought_units integer,
        top_5_bought_units integer,
        log_loss_sum double
    );
    create table if not exists ml.awaited_demand (
        level varchar,
        product_id varchar,
        department varchar,
        aisle varchar,
        name varchar,
        cutoff_at timestamp,
        window_end_at timestamp,
        method varchar,
        expected_units double,
        low_units double,
        high_units double
    );
    create table if not exists ml.demand_outcomes (
        level varchar,
        product_id varchar,
        department varchar,
        aisle varchar,
        name varchar,
        cutoff_at timestamp,
        window_end_at timestamp,
        method varchar,
        expected_units double,
        low_units double,
        high_units double,
        observed_units double
    );
    create table if not exists ml.evaluations (
        run_id varchar,
        task varchar,
        model_version varchar
    );
    create table if not exists ml.verdicts (
        run_id varchar,
        task varchar,
        protocol varchar,
        metric varchar,
        model_name varchar,
        rule_name varchar,
        shopper_count bigint,
        better_share double,
        worse_share double,
        equal_share double,
        difference double,
        low double,
        high double,
        verdict varchar
    );
    create table if not exists ml.kpis (
        batch_id varchar,
        finished_at timestamp,
        kpi varchar,
        value double,
        value_text varchar
    );
    create table if not exists ml.raw_files (
        file_name varchar,
        table_name varchar,
        row_count bigint
    );
    create table if not exists ml.event_days (
        day date,
        digest varchar
    );
    create table if not exists ml.deliveries (
        source varchar,
        line_count bigint,
        shopper_count bigint,
        oldest_order date,
        newest_order date,
        event_count bigint,
        oldest_event date,
        newest_event date,
        recorded_at timestamp
    );
    create table if not exists ml.runs (
        started_at timestamp,
        finished_at timestamp,
        outcome varchar,
        decision varchar,
        reason varchar,
        error varchar,
        release varchar,
        batch_id varchar
    );
    create table if not exists ml.run_steps (
        started_at timestamp,
        position integer,
        step varchar,
        rows bigint,
        seconds double
    );
    create table if not exists ml.decisions (
        decided_at timestamp,
        decided_by varchar,
        task varchar,
        decision varchar,
        is_promoted boolean,
        rules varchar,
        reason varchar,
        champion varchar,
        challenger varchar,
        test_shopper_count bigint,
        log_loss double,
        log_loss_difference double,
        log_loss_difference_low double,
        log_loss_difference_high double,
        mean_f1 double,
        mean_f1_difference double,
        mean_f1_difference_low double,
        mean_f1_difference_high double,
        baseline varchar,
        verdict varchar,
        fingerprint varchar
    );
    create table if not exists ml.comparison (
        compared_at timestamp,
        champion varchar,
        shopper_count bigint,
        changed_shopper_count bigint,
        line_count bigint,
        learned_line_count bigint,
        model_age_days double
    );
    create table if not exists ml.left_out (
        file_name varchar,
        reason varchar,
        line_count bigint
    );
    create table if not exists ml.notes (
        position integer,
        note varchar
    );
    create table if not exists ml.scored_shoppers (
        user_id user_id_type,
        digest hugeint,
        is_since_training boolean,
        batch_id varchar,
        made_by varchar,
        made_with varchar
    );
    create table if not exists ml.test_results (
        test_name varchar,
        model_name varchar,
        status varchar,
        failures integer,
        seconds double,
        finished_at timestamp
    );
{% endmacro %}
