-- What this installation calls itself to others that orders come from and go to. It is made once: a
-- restored copy is the same installation. One row, so a default that is computed costs nothing.
-- squawk-ignore adding-field-with-default
alter table installation add column public_id uuid not null default gen_random_uuid();

-- The installations that an order came through, the first one first; null for one that was placed
-- here, which is most: it takes no room.
alter table orders add column hops uuid[];

-- `order_candidate` and the hops. Processes of the version before still send the former.
create type order_candidate_2 as (
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
    dealer_id text,
    route_id text,
    dealer_sku text,
    dealer_ref text,
    cost bigint,
    max_price bigint,
    claim_id uuid
);
