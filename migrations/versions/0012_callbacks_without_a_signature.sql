-- Where a dealer's callbacks may come from; none: from anywhere.
alter table dealers add column callback_from cidr[] not null default '{}';

-- A trusted callback came by the dealer's secret path from an address listed for it. `reading` is
-- how it was understood when it came.
alter table callbacks
    add column trusted boolean not null default false,
    add column reading json;

-- What people look up: a dealer's newest.
-- squawk-ignore require-concurrent-index-creation
create index callbacks_of_a_dealer on callbacks (dealer_id, last_received_at);

-- The newest refused callbacks, cut in length and few for each dealer and cause: whoever floods one
-- cause pushes out nothing of the others. They name no reference of ours that could be trusted, so
-- they have no lane.
create table refused_callbacks (
    dealer_id text not null,
    cause text not null check (cause in ('path', 'address', 'unreadable', 'reference')),
    identity bytea not null,
    detail text not null,
    method text not null,
    query text not null,
    headers json not null,
    body bytea not null,
    source_address text not null,
    times_received integer not null default 1,
    received_at timestamptz not null default now(),
    last_received_at timestamptz not null default now(),
    primary key (dealer_id, cause, identity)
);

grant select, insert, update, delete on refused_callbacks to jalur_service;
