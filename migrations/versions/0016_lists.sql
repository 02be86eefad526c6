-- An event by its id. Ids rise with time, so new rows go to the end of it. Before the first version,
-- so that no table is large and no client assumes anything.
-- squawk-ignore require-concurrent-index-creation
create index events_by_id on events (lane, event_id);

-- Resellers administer their outlets themselves: where one stands, if that is known, and whether its
-- orders are refused, and why. `revision` is the outlets' revision that last changed the row: processes
-- read what is newer than what they have. A row that was removed stays for a day, so that they learn of
-- it.
-- squawk-ignore ban-drop-not-null
alter table outlets alter column region drop not null;
alter table outlets add column blocked boolean not null default false;
alter table outlets add column blocked_reason text not null default '';
alter table outlets add column revision bigint not null default 0;
alter table outlets add column removed_at timestamptz;
-- squawk-ignore require-concurrent-index-creation
create index outlets_changed on outlets (revision);
