-- A route may be bought from so often a day, for one number so often a day, and aims at a share.
alter table routes
    add column daily_quota integer check (daily_quota > 0),
    add column repeat_limit smallint check (repeat_limit between 1 and 99),
    add column weight smallint not null default 0 check (weight between 0 and 1000);

-- An offer may have several prices, each for a time of its own. Before the first version, so that no
-- table is large and no client assumes anything.
-- squawk-ignore require-concurrent-index-creation
create unique index routes_an_offer_at_a_time
    on routes (sku, cluster, dealer_id, valid_from) nulls not distinct;

-- squawk-ignore ban-drop-constraint
alter table routes drop constraint routes_sku_cluster_dealer_id_key;

-- ---------------------------------------------------------------- what was in force

-- The newest tables, each as compressed CSV. `act` is how it came into force.
create table table_versions (
    version bigint not null primary key,
    revision bigint not null,
    kept_at timestamptz not null default now(),
    act text not null,
    operator text not null,
    reason text not null,
    checksum text not null,
    routes integer not null,
    added integer not null,
    changed integer not null,
    removed integer not null,
    content bytea not null
);

-- ---------------------------------------------------------------- what is put off

-- Sheets that are to be applied at a moment. One process claims a due one and has until
-- `claimed_until` for it; then another one may. `outcome` says what became of it. The sheet goes once
-- it is over.
create table scheduled_tables (
    schedule_id uuid not null primary key,
    due_at timestamptz not null,
    state text not null default 'waiting'
        check (state in ('waiting', 'applied', 'refused', 'cancelled')),
    operator text not null,
    origin text not null,
    created_at timestamptz not null default now(),
    wanted json not null,
    content bytea check ((content is not null) = (state = 'waiting')),
    claimed_until timestamptz,
    finished_at timestamptz check ((finished_at is null) = (state = 'waiting')),
    outcome json
);

create index scheduled_tables_due on scheduled_tables (due_at) where state = 'waiting';

grant select, insert, delete on table_versions to jalur_service;
grant select, insert, update on scheduled_tables to jalur_service;
