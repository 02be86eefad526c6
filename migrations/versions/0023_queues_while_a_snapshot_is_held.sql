-- What is to be done is found without a walk over what is done, while somebody holds a snapshot. New
-- indexes are built first: until the old ones go, at the end, all is read as before.

-- What waits and what is leased, each by itself: nearly every lease is over before its end, where its
-- entry stays until it is cleared away.
-- squawk-ignore require-concurrent-index-creation
create index attempts_waiting on attempts (due_at) where claim_id is null and due_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index attempts_leased on attempts (due_at) where claim_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index deliveries_waiting on deliveries (due_at)
    where claim_id is null and due_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index deliveries_leased on deliveries (due_at) where claim_id is not null;

-- What is parked, said so that no other index fits its words: deliveries_unfinished did, and was
-- read from end to end by whoever looks whether something is parked.
-- squawk-ignore require-concurrent-index-creation
create index deliveries_put_aside on deliveries (endpoint_id, event_seq)
    where due_at is null and state not in ('delivered', 'failed', 'replayed');

-- What was taken since a balance is in the purchases of the orders since then, and in those of older
-- orders that were closed since. These have an index, in place of that of what was closed long after
-- it was sent; now also what was sent long after its order was accepted.
create function order_moment(order_id uuid) returns timestamptz
language sql immutable strict parallel safe
return to_timestamp(
    ('x' || translate(left(order_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0::float8
);
comment on function order_moment is 'When a UUIDv7 was made (RFC 9562, section 5.7).';
-- squawk-ignore require-concurrent-index-creation
create index attempts_slow on attempts (closed_at)
    where closed_at is not null and closed_at - order_moment(order_id) > interval '1 minute';

-- Where a version of a wallet finds room on its page, it needs no entry in the index. While somebody
-- holds a snapshot no version can go: on pages half empty each soon moved to another page, with an
-- entry that every later look-up and change of the wallet steps over. With pages nine tenths empty it
-- is about one in ten. A thousand wallets take a mebibyte.
alter table wallets set (fillfactor = 10);

-- squawk-ignore require-concurrent-index-deletion
drop index attempts_due;
-- squawk-ignore require-concurrent-index-deletion
drop index attempts_closed_late;
-- squawk-ignore require-concurrent-index-deletion
drop index deliveries_due;
-- squawk-ignore require-concurrent-index-deletion
drop index deliveries_parked;
-- squawk-ignore renaming-object
alter index deliveries_put_aside rename to deliveries_parked;
