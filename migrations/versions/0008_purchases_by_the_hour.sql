-- What was bought in each hour, so that market shares can be counted anew without adding up a week of
-- attempts. An hour is that of the order's id. `counted_at`: when the row was last known to be right.
create type hour_purchase as (
    brand text,
    cluster text,
    dealer_id text,
    cost bigint,
    orders bigint
);

create table purchase_hours (
    hour timestamptz primary key,
    counted_at timestamptz not null,
    purchases hour_purchase[] not null
);

-- Attempts closed late, few of all: the hours in which they were sent may have been written before.
-- Before the first version, so that no table is large.
-- squawk-ignore require-concurrent-index-creation
create index attempts_closed_late on attempts (closed_at)
    where closed_at - sent_at > interval '5 minutes';

grant select, insert, update on purchase_hours to jalur_service;
