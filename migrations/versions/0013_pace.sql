-- What the dealer allows, over requests of all kinds and all processes; null: what its protocol knows.
alter table dealers add column requests_per_second double precision
    check (requests_per_second between 0.001 and 10000);

-- The processes that buy, each with what it holds of the dealers' limits.
create table processes (
    process_id uuid primary key,
    joined_at timestamptz not null default now(),
    beat_at timestamptz not null,
    holds json not null
);

grant select, insert, update, delete on processes to jalur_service;
