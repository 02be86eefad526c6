-- Doors: accounts of resellers whose clients speak a protocol of the field. What they sign with has
-- to be known, not only its hash, so it is sealed. A name is never given out again.
create table doors (
    door_id uuid primary key,
    shape text not null check (shape in ('digiflazz', 'otomax', 'irs')),
    name text not null,
    lane smallint not null,
    reseller_id uuid not null,
    secrets_sealed bytea not null,
    previous_sealed bytea,
    previous_until timestamptz,
    networks cidr[] not null default '{}',
    endpoint_id uuid,
    created_at timestamptz not null default now(),
    removed_at timestamptz,
    unique (shape, name),
    check (num_nulls(previous_sealed, previous_until) in (0, 2))
);

create index doors_of_a_reseller on doors (reseller_id);

create trigger identity_changed after insert or update or delete or truncate on doors
    for each statement execute function raise_identity_revision();

-- References that a door has called failed without an order. Its clients ask for an order's state by
-- sending it again: what they were told has failed must not be bought by their asking.
create table door_refusals (
    lane smallint not null,
    reseller_id uuid not null,
    ref_id text not null,
    fingerprint bytea not null,
    code text not null,
    refused_at timestamptz not null default now(),
    primary key (lane, reseller_id, ref_id)
);

-- The form in which an endpoint is told: `standard`, or a door's.
alter table webhook_endpoints add column shape text not null default 'standard';

grant select, insert, update on doors to jalur_service;
grant select, insert on door_refusals to jalur_service;
