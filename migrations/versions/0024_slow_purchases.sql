-- What was taken since a balance is in the purchases of the orders since then, and in those of older
-- orders that were closed since. These have an index, which held what was closed long after it was
-- sent; now also what was sent long after its order was accepted.

create function order_moment(order_id uuid) returns timestamptz
language sql immutable strict parallel safe
return to_timestamp(
    ('x' || translate(left(order_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0::float8
);
comment on function order_moment is 'When a UUIDv7 was made (RFC 9562, section 5.7).';

-- squawk-ignore require-concurrent-index-deletion
drop index attempts_closed_late;
-- squawk-ignore require-concurrent-index-creation
create index attempts_slow on attempts (closed_at)
    where closed_at is not null and closed_at - order_moment(order_id) > interval '1 minute';
