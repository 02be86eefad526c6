-- What waits and what is leased, each in an index of its own: nearly every lease is over before its
-- end, where its entry stays until it is cleared away.

-- squawk-ignore require-concurrent-index-deletion
drop index attempts_due;
-- squawk-ignore require-concurrent-index-creation
create index attempts_due on attempts (due_at) where claim_id is null and due_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index attempts_leased on attempts (due_at) where claim_id is not null;

-- squawk-ignore require-concurrent-index-deletion
drop index deliveries_due;
-- squawk-ignore require-concurrent-index-creation
create index deliveries_due on deliveries (due_at) where claim_id is null and due_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index deliveries_leased on deliveries (due_at) where claim_id is not null;
