-- While a table of orders is small, each of autovacuum's minutes finds that a tenth of it is new, reads
-- samples of all its columns, and goes over it. So a shop of a hundred orders a second has that done
-- sixteen times in its first minutes, and never so often again. Here it takes 100,000 new rows, or
-- 20,000 that were changed, and the shares of the table that PostgreSQL asks for besides. Our own
-- statements follow their keys whatever the statistics say.
do $$
declare kept text;
begin
    for kept in
        select relid::regclass::text from pg_partition_tree('delivery_tries') where isleaf
        union all
        select unnest(array['orders', 'order_references', 'attempts', 'ledger_entries', 'events',
                            'deliveries'])
    loop
        execute format(
            'alter table %s set (autovacuum_analyze_threshold = 100000,
                autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_threshold = 20000)',
            kept
        );
    end loop;
end $$;
