-- A batch goes to a hot statement as one array of rows instead of an array for each column: half of
-- the work on either side. A type is never altered, since processes of two versions run side by side
-- while one replaces the other: a row that changes gets a new type.

create type order_candidate as (
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
    dealer_id text,
    route_id text,
    dealer_sku text,
    dealer_ref text,
    cost bigint,
    max_price bigint,
    claim_id uuid
);

create type order_change as (
    lane smallint,
    order_id uuid,
    status text,
    needs_review boolean,
    corrections smallint,
    failure_code text,
    failure_message text,
    serial_number text,
    version integer,
    finished_at timestamptz,
    serving_attempt smallint
);

create type attempt_change as (
    lane smallint,
    order_id uuid,
    attempt_no smallint,
    state text,
    claim_id uuid,
    due_at timestamptz,
    absent_since timestamptz,
    code text,
    message text,
    serial_number text,
    charged bigint,
    closed_at timestamptz
);

create type wallet_movement as (
    lane smallint,
    reseller_id uuid,
    kind text,
    order_id uuid,
    leg text,
    available_delta bigint,
    reserved_delta bigint,
    outside_delta bigint,
    reference text,
    place bigint,
    number bigint,
    available_so_far bigint,
    reserved_so_far bigint
);

create type event_news as (
    lane smallint,
    reseller_id uuid,
    event_id uuid,
    type text,
    order_id uuid,
    order_version integer,
    payload text,
    place bigint,
    number bigint
);

create type delivery_errand as (
    lane smallint,
    delivery_id uuid,
    endpoint_id uuid,
    event_id uuid,
    claim_id uuid,
    reseller_id uuid,
    order_id uuid,
    place bigint,
    number bigint
);

create type delivery_try as (
    lane smallint,
    delivery_id uuid,
    endpoint_id uuid,
    claim_id uuid,
    state text,
    charged boolean,
    due_at timestamptz,
    last_status smallint,
    last_error text
);
