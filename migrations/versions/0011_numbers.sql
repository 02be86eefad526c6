-- Which purchase of its product for its number on its day it is at its dealer: a check that is the
-- purchase sent again must say the same.
alter table attempts add column counter smallint not null default 1 check (counter > 0);

-- Which purchase holds which number, counted by the dealer's own product and by the day in WIB. `lane` is
-- that of the customer's number. What became of a purchase is read from its attempt.
create table number_marks (
    lane smallint not null,
    day date not null,
    customer_number text not null,
    dealer_id text not null,
    dealer_sku text not null,
    counter smallint not null check (counter > 0),
    order_lane smallint not null,
    order_id uuid not null,
    attempt_no smallint not null,
    taken_at timestamptz not null default now(),
    primary key (lane, day, customer_number, dealer_id, dealer_sku, counter)
);

-- Where a reseller's outlets stand. Whatever of them changes raises `outlets_revision`: they are many.
create table outlets (
    lane smallint not null,
    reseller_id uuid not null,
    outlet_id text not null,
    region text not null,
    primary key (lane, reseller_id, outlet_id)
);
alter table routing_policy add column outlets_revision bigint not null default 1;

-- The weakest hint at a cluster: where numbers that begin like this were first sold.
create table number_clusters (
    prefix text primary key check (prefix ~ '^0[0-9]{4,9}$'),
    cluster text not null
);

-- What dealers refused as outside their area, the newest refusal of each number.
create table cluster_refusals (
    dealer_id text not null,
    brand text not null,
    cluster text not null,
    customer_number text not null,
    refused_at timestamptz not null,
    primary key (dealer_id, brand, cluster, customer_number)
);

grant select, insert, update, delete on
    number_marks, outlets, number_clusters, cluster_refusals
    to jalur_service;
