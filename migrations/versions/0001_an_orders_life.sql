-- One order's life: resellers and their money, orders and their attempts, what is reported, what is
-- configured. `lane` (a stable hash of the reseller, 0 to 63) leads every key of the reseller's
-- tables, so that they can be distributed by it unchanged. Money is whole rupiah.

-- The role that the service works under. It reads and writes, but cannot rewrite history.
do $$
begin
    create role jalur_service nologin;
exception
    when duplicate_object or unique_violation then null;
    -- Where the owner may not create roles, an administrator did it before.
    when insufficient_privilege then
        if not exists (select from pg_roles where rolname = 'jalur_service') then
            raise;
        end if;
end
$$;
do $$
begin
    -- Since PostgreSQL 16 the creator of a role may not take it on until it is granted.
    execute format('grant jalur_service to %I', current_user);
exception when insufficient_privilege then null;
end
$$;

-- ---------------------------------------------------------------- resellers and their money

create table resellers (
    lane smallint not null check (lane between 0 and 63),
    reseller_id uuid not null,
    name text not null,
    tier text not null default 'standard',
    status text not null default 'active' check (status in ('active', 'suspended')),
    created_at timestamptz not null default now(),
    primary key (lane, reseller_id)
);

create table wallets (
    lane smallint not null,
    reseller_id uuid not null,
    available bigint not null default 0,
    reserved bigint not null default 0 check (reserved >= 0),
    credit_limit bigint not null default 0 check (credit_limit >= 0),
    entry_seq bigint not null default 0,
    event_seq bigint not null default 0,
    primary key (lane, reseller_id)
) with (fillfactor = 50);

-- Append-only: the service role may not update or delete here. `outside` is the rest of the world:
-- what was paid in (negative) and what was sold (positive), so that each entry sums to zero.
create table ledger_entries (
    lane smallint not null,
    reseller_id uuid not null,
    seq bigint not null,
    kind text not null,
    order_id uuid,
    leg text,
    available_delta bigint not null,
    reserved_delta bigint not null,
    outside_delta bigint not null,
    available_after bigint not null,
    reserved_after bigint not null check (reserved_after >= 0),
    reference text,
    created_at timestamptz not null default now(),
    primary key (lane, reseller_id, seq),
    constraint entry_sums_to_zero check (available_delta + reserved_delta + outside_delta = 0),
    constraint entry_is_of_its_kind check (
        case kind
            when 'deposit' then available_delta > 0 and reserved_delta = 0
                and order_id is null and reference is not null
            when 'adjustment' then available_delta <> 0 and reserved_delta = 0
                and order_id is null and reference is not null
            when 'reserve' then reserved_delta > 0 and outside_delta = 0 and leg = 'reserve'
            when 'capture' then reserved_delta < 0 and available_delta = 0 and leg = 'resolve'
            when 'release' then reserved_delta < 0 and outside_delta = 0 and leg = 'resolve'
            when 'refund' then available_delta > 0 and reserved_delta = 0
                and leg like 'correction %'
            when 'correction' then available_delta < 0 and reserved_delta = 0
                and leg like 'correction %'
            else false
        end
    ),
    constraint entry_names_its_order check ((order_id is null) = (leg is null))
);
create unique index ledger_entries_once_a_leg on ledger_entries (lane, order_id, leg)
    where order_id is not null;
create unique index ledger_entries_once_a_reference on ledger_entries (lane, reseller_id, reference)
    where reference is not null;

create table api_keys (
    key_id text primary key,
    lane smallint not null,
    reseller_id uuid not null,
    mode text not null check (mode in ('live', 'test')),
    secret_sha256 bytea not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

-- ---------------------------------------------------------------- orders and their attempts

create table orders (
    lane smallint not null,
    order_id uuid not null,
    reseller_id uuid not null,
    ref_id text not null,
    sku text not null,
    brand text not null,
    customer_number text not null,
    cluster text,
    region text,
    outlet_id text,
    max_price bigint,
    price bigint not null check (price > 0),
    status text not null default 'accepted'
        check (status in ('accepted', 'processing', 'succeeded', 'failed', 'reversed')),
    needs_review boolean not null default false,
    corrections smallint not null default 0,
    failure_code text,
    failure_message text,
    serial_number text,
    serving_attempt smallint,
    version integer not null default 1,
    retry_until timestamptz not null,
    created_at timestamptz not null,
    finished_at timestamptz,
    metadata json,
    decision json not null,
    primary key (lane, order_id)
) with (fillfactor = 80);
create index orders_of_a_reseller on orders (lane, reseller_id, order_id);

-- The resellers' references: unique for ever, also when old orders are dropped one day.
create table order_references (
    lane smallint not null,
    reseller_id uuid not null,
    ref_id text not null,
    order_id uuid not null,
    fingerprint bytea not null,
    primary key (lane, reseller_id, ref_id)
);

-- What may be bought next: one narrow row an order, gone once an attempt is claimed.
create table ready (
    lane smallint not null,
    order_id uuid not null,
    attempt_no smallint not null,
    dealer_id text not null,
    not_before timestamptz not null,
    decision json,
    primary key (lane, order_id)
);
create index ready_at_a_dealer on ready (dealer_id, lane, order_id);

-- `claim_id` stands while a purchase or a check is in flight; `due_at` is then the end of its lease,
-- else the time of the next check. Both null: nothing is left to ask.
create table attempts (
    lane smallint not null,
    order_id uuid not null,
    attempt_no smallint not null,
    dealer_id text not null,
    route_id text not null,
    dealer_sku text not null,
    dealer_ref text not null,
    cost bigint not null check (cost > 0),
    max_price bigint not null check (max_price >= cost),
    state text not null default 'sent'
        check (state in ('sent', 'pending', 'unknown', 'succeeded', 'rejected', 'failed')),
    fence integer not null default 1,
    claim_id uuid,
    due_at timestamptz,
    checks integer not null default 0,
    asked_at timestamptz not null,
    absent_since timestamptz,
    code text,
    message text,
    serial_number text,
    charged bigint,
    sent_at timestamptz not null,
    closed_at timestamptz,
    decision json,
    primary key (lane, order_id, attempt_no),
    unique (lane, dealer_id, dealer_ref),
    constraint a_claim_has_a_lease check (claim_id is null or due_at is not null)
) with (fillfactor = 70);
create index attempts_due on attempts (due_at) where due_at is not null;

-- A dealer's word that it delivered what another dealer serves: between us and that dealer.
create table disputes (
    lane smallint not null,
    order_id uuid not null,
    attempt_no smallint not null,
    dealer_id text not null,
    dealer_ref text not null,
    cost bigint not null,
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    resolution text,
    primary key (lane, order_id, attempt_no)
);

create table reviews (
    lane smallint not null,
    order_id uuid not null,
    attempt_no smallint not null,
    reason text not null,
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    resolution text,
    primary key (lane, order_id, attempt_no, reason)
);
create index reviews_open on reviews (opened_at) where closed_at is null;

-- ---------------------------------------------------------------- what comes in from dealers

-- Every callback as it arrived, stored before it is acknowledged. `lane` is read from our reference.
create table callbacks (
    lane smallint not null,
    dealer_id text not null,
    identity bytea not null,
    callback_id uuid not null,
    method text not null,
    query text not null,
    headers json not null,
    body bytea not null,
    source_address text not null,
    verdict text not null default 'waiting'
        check (verdict in ('waiting', 'applied', 'check', 'unmatched', 'review')),
    times_received integer not null default 1,
    received_at timestamptz not null default now(),
    last_received_at timestamptz not null default now(),
    applied_at timestamptz,
    primary key (lane, dealer_id, identity)
);
create index callbacks_waiting on callbacks (last_received_at) where verdict = 'waiting';

-- ---------------------------------------------------------------- what goes out to resellers

create table events (
    lane smallint not null,
    reseller_id uuid not null,
    event_seq bigint not null,
    event_id uuid not null,
    type text not null,
    order_id uuid,
    order_version integer,
    payload text not null,
    created_at timestamptz not null,
    primary key (lane, reseller_id, event_seq)
);
create index events_of_an_order on events (lane, order_id) where order_id is not null;

create table webhook_endpoints (
    lane smallint not null,
    endpoint_id uuid not null,
    reseller_id uuid not null,
    url text not null,
    event_types text[],
    status text not null default 'active' check (status in ('active', 'disabled', 'deleted')),
    secret_sealed bytea not null,
    created_at timestamptz not null default now(),
    disabled_at timestamptz,
    failing_since timestamptz,
    primary key (lane, endpoint_id)
);
create index webhook_endpoints_of_a_reseller on webhook_endpoints (lane, reseller_id);

-- `due_at` is the next try, or the end of the lease while `claim_id` stands; null: nothing to do.
create table deliveries (
    lane smallint not null,
    delivery_id uuid not null,
    reseller_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    event_seq bigint not null,
    order_id uuid,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    tries smallint not null default 0,
    claim_id uuid,
    due_at timestamptz,
    last_status smallint,
    last_error text,
    created_at timestamptz not null default now(),
    delivered_at timestamptz,
    primary key (lane, delivery_id)
) with (fillfactor = 70);
create index deliveries_due on deliveries (due_at) where due_at is not null;
create index deliveries_unfinished on deliveries (order_id, endpoint_id, event_seq)
    where state = 'pending';

-- ---------------------------------------------------------------- reference: small, the same everywhere

create table brand_prefixes (
    prefix text primary key check (prefix ~ '^0[0-9]{2,8}$'),
    brand text not null
);

create table regions (
    region text primary key,
    cluster text not null
);

create table products (
    sku text primary key,
    name text not null,
    brand text not null,
    kind text not null default 'pulsa',
    denomination bigint not null check (denomination > 0),
    enabled boolean not null default true
);

create table prices (
    tier text not null,
    sku text not null references products,
    price bigint not null check (price > 0),
    primary key (tier, sku)
);

create table dealers (
    dealer_id text primary key check (dealer_id ~ '^[a-z][a-z0-9_-]{0,31}$'),
    name text not null,
    owner_group text not null,
    protocol text not null,
    base_url text not null,
    credentials_sealed bytea not null,
    options json not null default '{}',
    callback_token text,
    concurrency integer not null default 32 check (concurrency between 1 and 10000),
    timeout_seconds real not null default 30 check (timeout_seconds > 0),
    connect_timeout_seconds real not null default 5 check (connect_timeout_seconds > 0),
    enabled boolean not null default true,
    drained boolean not null default false,
    muted_until timestamptz
);

create table routes (
    route_id text primary key,
    sku text not null references products,
    cluster text,
    dealer_id text not null references dealers,
    dealer_sku text not null,
    cost bigint,
    enabled boolean not null default true,
    hours text not null default '',
    valid_from timestamptz,
    valid_until timestamptz,
    unique nulls not distinct (sku, cluster, dealer_id)
);

-- One row: the routing policy and the number that every change of the reference tables raises, so
-- that each process takes up the new table.
create table routing_policy (
    only_row boolean primary key default true check (only_row),
    revision bigint not null default 1,
    policy json not null default '{}'
);
insert into routing_policy default values;

-- One row: which database this is. When it turns out to be another (a restore, a failover), `hold`
-- stops purchases and checks until an operator says that the dealers were reconciled.
create table installation (
    only_row boolean primary key default true check (only_row),
    system_identifier text not null,
    timeline integer not null,
    hold boolean not null default false,
    changed_at timestamptz not null default now()
);
-- This database as it is now. The timeline is that of the log being written: the one in the
-- control file follows only at the next checkpoint.
create view database_identity as
    select s.system_identifier::text as system_identifier,
           ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
               as timeline
    from pg_control_system() s;
insert into installation (system_identifier, timeline)
    select system_identifier, timeline from database_identity;
-- A row while purchases and checks must hold. Claims read it in their own statement.
create view purchases_held as
    select from installation i
    where i.hold
       or not exists (
           select from database_identity d
           where d.system_identifier = i.system_identifier and d.timeline = i.timeline
       );

-- ---------------------------------------------------------------- what the service role may do

grant usage on schema public to jalur_service;
grant select on alembic_version, database_identity, purchases_held to jalur_service;
grant select, insert on ledger_entries, order_references, events to jalur_service;
grant select, insert, update on
    resellers, wallets, api_keys, orders, attempts, disputes, reviews, callbacks,
    webhook_endpoints, deliveries, brand_prefixes, regions, products, prices, dealers, routes,
    routing_policy, installation
    to jalur_service;
grant select, insert, update, delete on ready to jalur_service;
grant delete on brand_prefixes, regions, prices, routes to jalur_service;
