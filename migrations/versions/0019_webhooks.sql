-- What a reseller decides about an endpoint, by version. While a secret rotates the old one signs too.
alter table webhook_endpoints
    add column description text not null default '',
    add column version bigint not null default 1,
    add column schedule_seconds double precision[],
    add column rate_per_second double precision,
    add column old_secret_sealed bytea,
    add column old_secret_until timestamptz,
    add column disabled_reason text,
    add constraint webhook_endpoints_old_secret_check
        check ((old_secret_sealed is null) = (old_secret_until is null)) not valid;

-- squawk-ignore require-concurrent-index-creation
create index webhook_endpoints_failing on webhook_endpoints (failing_since)
    where failing_since is not null;

-- A replay is a delivery of its own; where what it repeats had failed, it stands in its place and
-- the failed one becomes `replayed`.
-- squawk-ignore ban-drop-constraint
alter table deliveries drop constraint deliveries_state_check;
alter table deliveries
    add column replay_of uuid,
    add constraint deliveries_state_check
        check (state in ('pending', 'delivered', 'failed', 'replayed')) not valid;

-- Read page by page by the reseller, so its key leads by the reseller.
-- squawk-ignore ban-drop-constraint
alter table deliveries drop constraint deliveries_pkey;
-- squawk-ignore adding-serial-primary-key-field, constraint-missing-not-valid
alter table deliveries add primary key (lane, reseller_id, delivery_id);

-- squawk-ignore require-concurrent-index-creation
create index deliveries_undelivered on deliveries (lane, reseller_id, delivery_id)
    where state in ('pending', 'failed');

-- Endpoint by endpoint, for a claim that goes round among them when much is due.
-- squawk-ignore require-concurrent-index-creation
create index deliveries_of_an_endpoint on deliveries (endpoint_id, due_at) where due_at is not null;

-- What waits for its endpoint to be enabled.
-- squawk-ignore require-concurrent-index-creation
create index deliveries_parked on deliveries (endpoint_id, event_seq)
    where state = 'pending' and due_at is null;

-- A process of the version before goes on writing the type as it was.
create type delivery_try_2 as (
    lane smallint,
    delivery_id uuid,
    endpoint_id uuid,
    claim_id uuid,
    state text,
    charged boolean,
    due_at timestamptz,
    last_status smallint,
    last_error text,
    reseller_id uuid
);

-- Whom to tell when its money runs low. `is_low` is what was told last.
create table balance_alerts (
    lane smallint not null,
    reseller_id uuid not null,
    below bigint not null check (below > 0),
    is_low boolean not null default false,
    primary key (lane, reseller_id)
);

-- What each try sent and what came back, for a few days: a ring of days, of which the oldest is
-- emptied as a whole.
create table delivery_tries (
    slot smallint not null,
    lane smallint not null,
    reseller_id uuid not null,
    delivery_id uuid not null,
    tried_at timestamptz not null,
    duration_ms bigint not null,
    status smallint,
    error text,
    request_headers json not null,
    response_headers json,
    response_body text
) partition by list (slot);

create index delivery_tries_of_a_delivery on delivery_tries (lane, delivery_id);

create table delivery_tries_0 partition of delivery_tries for values in (0);
create table delivery_tries_1 partition of delivery_tries for values in (1);
create table delivery_tries_2 partition of delivery_tries for values in (2);
create table delivery_tries_3 partition of delivery_tries for values in (3);
create table delivery_tries_4 partition of delivery_tries for values in (4);
create table delivery_tries_5 partition of delivery_tries for values in (5);
create table delivery_tries_6 partition of delivery_tries for values in (6);
create table delivery_tries_7 partition of delivery_tries for values in (7);
create table delivery_tries_8 partition of delivery_tries for values in (8);
create table delivery_tries_9 partition of delivery_tries for values in (9);
create table delivery_tries_10 partition of delivery_tries for values in (10);
create table delivery_tries_11 partition of delivery_tries for values in (11);

grant select, insert, update, delete on balance_alerts to jalur_service;
grant select, insert on delivery_tries to jalur_service;
grant select, truncate on
    delivery_tries_0,
    delivery_tries_1,
    delivery_tries_2,
    delivery_tries_3,
    delivery_tries_4,
    delivery_tries_5,
    delivery_tries_6,
    delivery_tries_7,
    delivery_tries_8,
    delivery_tries_9,
    delivery_tries_10,
    delivery_tries_11
    to jalur_service;
