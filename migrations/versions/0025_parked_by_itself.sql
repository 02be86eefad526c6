-- What is parked, said so that no other index fits its words: deliveries_unfinished did, and was
-- read from end to end by whoever looks whether something is parked.

-- squawk-ignore require-concurrent-index-deletion
drop index deliveries_parked;
-- squawk-ignore require-concurrent-index-creation
create index deliveries_parked on deliveries (endpoint_id, event_seq)
    where due_at is null and state not in ('delivered', 'failed', 'replayed');
