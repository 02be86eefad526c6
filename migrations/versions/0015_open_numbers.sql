-- The trace that an order belongs to: its id, 16 bytes, and the flags where the caller sent them.
alter table orders add column trace bytea;

-- What each reseller has an open order for: a product for a number. Written by the statement that
-- accepts the order, gone in the one that closes it. `slot` is zero for an order that must be the only
-- one, and an order's own id for one that may stand beside others.
create table open_numbers (
    lane smallint not null,
    reseller_id uuid not null,
    customer_number text not null,
    sku text not null,
    slot uuid not null,
    order_id uuid not null,
    primary key (lane, reseller_id, customer_number, sku, slot)
);

-- `order_candidate_2` with the trace, and what guards the number. Processes of the version before
-- still send the former.
create type order_candidate_3 as (
    place bigint,
    lane smallint,
    order_id uuid,
    reseller_id uuid,
    ref_id text,
    fingerprint bytea,
    sku text,
    brand text,
    customer_number text,
    cluster text,
    region text,
    outlet_id text,
    order_max_price bigint,
    price bigint,
    retry_until timestamptz,
    created_at timestamptz,
    metadata json,
    decision json,
    hops uuid[],
    trace bytea,
    may_repeat boolean,
    dealer_id text,
    barred boolean,
    route_id text,
    dealer_sku text,
    dealer_ref text,
    cost bigint,
    max_price bigint,
    claim_id uuid
);

grant select, insert, delete on open_numbers to jalur_service;
