-- What settling locks, in one trip instead of three. Each statement of the function has a snapshot
-- of its own, as it must: it sees what the holder of the lock before it wrote.

create type locked_order as (
    lane smallint,
    order_id uuid,
    reseller_id uuid,
    ref_id text,
    sku text,
    brand text,
    customer_number text,
    cluster text,
    max_price bigint,
    price bigint,
    status text,
    needs_review boolean,
    corrections smallint,
    failure_code text,
    failure_message text,
    serial_number text,
    version integer,
    retry_until timestamptz,
    created_at timestamptz,
    finished_at timestamptz,
    metadata json,
    serving_attempt smallint,
    trace bytea,
    now timestamptz
);

create type waiting_attempt as (
    lane smallint,
    order_id uuid,
    dealer_id text
);

create type locked_attempt as (
    lane smallint,
    order_id uuid,
    attempt_no smallint,
    dealer_id text,
    dealer_ref text,
    cost bigint,
    state text,
    fence integer,
    claim_id uuid,
    due_at timestamptz,
    checks integer,
    asked_at timestamptz,
    absent_since timestamptz,
    serial_number text,
    charged bigint,
    code text,
    message text,
    sent_at timestamptz,
    closed_at timestamptz,
    route_id text,
    dealer_sku text
);

create function lock_orders(
    lanes smallint[],
    order_ids uuid[],
    out locked locked_order[],
    out waiting waiting_attempt[],
    out tries locked_attempt[]
) language plpgsql as $$
begin
    locked := array(
        select row(o.lane, o.order_id, o.reseller_id, o.ref_id, o.sku, o.brand, o.customer_number,
                   o.cluster, o.max_price, o.price, o.status, o.needs_review, o.corrections,
                   o.failure_code, o.failure_message, o.serial_number, o.version, o.retry_until,
                   o.created_at, o.finished_at, o.metadata, o.serving_attempt, o.trace,
                   now())::locked_order
        from unnest(lanes, order_ids) k (lane, order_id)
        cross join lateral (
            select * from orders where lane = k.lane and order_id = k.order_id for update
        ) o
    );
    -- Where a claim holds the row, this waits until it is gone and its attempt is there.
    waiting := array(
        select row(r.lane, r.order_id, r.dealer_id)::waiting_attempt
        from unnest(lanes, order_ids) k (lane, order_id)
        cross join lateral (
            select * from ready where lane = k.lane and order_id = k.order_id for update
        ) r
    );
    tries := array(
        select row(a.lane, a.order_id, a.attempt_no, a.dealer_id, a.dealer_ref, a.cost, a.state,
                   a.fence, a.claim_id, a.due_at, a.checks, a.asked_at, a.absent_since,
                   a.serial_number, a.charged, a.code, a.message, a.sent_at, a.closed_at,
                   a.route_id, a.dealer_sku)::locked_attempt
        from unnest(lanes, order_ids) k (lane, order_id)
        cross join lateral (
            select * from attempts
            where lane = k.lane and order_id = k.order_id
            order by attempt_no
            for update
        ) a
    );
end $$;
