-- What succeeded purchases of each hour took from our deposits, kept beside what was bought and
-- counted with it. An hour without it was counted before there was such a thing, and is counted anew.
create type hour_spend as (
    dealer_id text,
    rupiah bigint,
    orders bigint
);
alter table purchase_hours add column spends hour_spend[];

-- Our account at each dealer, as last looked at: one row a dealer, written by whoever pulls or counts,
-- never by an order. `asked_at` and `answered_at` stand around the moment that the dealer spoke of;
-- `agreed_*` is the last balance that our own account could explain.
create table dealer_accounts (
    dealer_id text primary key,
    pull_due_at timestamptz not null default now(),
    claimed_until timestamptz,
    failures integer not null default 0,
    last_failure text,
    refused_at timestamptz,
    asked_at timestamptz,
    answered_at timestamptz,
    rupiah bigint,
    agreed_asked_at timestamptz,
    agreed_answered_at timestamptz,
    agreed_rupiah bigint,
    expected_low bigint,
    expected_high bigint,
    counted_at timestamptz,
    spent bigint not null default 0,
    in_flight bigint not null default 0,
    hourly bigint[] not null default '{}',
    check (num_nulls(asked_at, answered_at, rupiah, agreed_asked_at, agreed_answered_at,
                     agreed_rupiah) in (0, 6))
);

-- Every balance that a dealer told, or that people read off its pages, with what we had expected.
create table dealer_balances (
    dealer_id text not null,
    answered_at timestamptz not null,
    asked_at timestamptz not null,
    rupiah bigint not null,
    source text not null check (source in ('pulled', 'recorded')),
    expected_low bigint,
    expected_high bigint,
    primary key (dealer_id, answered_at)
);

-- What we paid in at dealers: once a reference.
create table dealer_deposits (
    dealer_id text not null,
    reference text not null,
    rupiah bigint not null check (rupiah > 0),
    recorded_at timestamptz not null default now(),
    primary key (dealer_id, reference)
);

-- Routes whose dealer charged more than their cost. One stands, and mutes its route, while the route
-- has the cost and the dealer's SKU of then, nobody lifted it, and it has not expired.
create table price_rises (
    route_id text primary key,
    dealer_id text not null,
    dealer_sku text not null,
    cost bigint not null,
    charged bigint not null check (charged > cost),
    purchases bigint not null default 1,
    order_id uuid not null,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    muted_until timestamptz not null,
    lifted_at timestamptz
);

-- How a dealer's statements are read, as last told.
create table statement_forms (
    dealer_id text primary key,
    form json not null
);

grant select, insert, update on dealer_accounts, price_rises, statement_forms to jalur_service;
grant select, insert on dealer_balances, dealer_deposits to jalur_service;
