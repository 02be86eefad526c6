-- A reseller's and a key's own rates, as `100/1s` or `100/1s,50000/1d`; null: a reseller has those of
-- the settings, a key those of its reseller.
alter table resellers
    add column orders_rate text check (orders_rate ~ '^[0-9a-z/,]{3,64}$'),
    add column reads_rate text check (reads_rate ~ '^[0-9a-z/,]{3,64}$');

alter table api_keys
    add column orders_rate text check (orders_rate ~ '^[0-9a-z/,]{3,64}$'),
    add column reads_rate text check (reads_rate ~ '^[0-9a-z/,]{3,64}$');

-- The processes that answer the API, which divide the rates while Redis is away.
create table api_processes (
    process_id uuid primary key,
    beat_at timestamptz not null
);

grant select, insert, update, delete on api_processes to jalur_service;
