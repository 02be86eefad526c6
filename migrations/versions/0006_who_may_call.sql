-- Processes remember who holds which key and ask twice a second whether that has changed. A row, not a
-- sequence: its new number must not be seen before the change itself.
create table identity_revision (
    only_row boolean not null default true primary key check (only_row),
    revision bigint not null default 1
);

insert into identity_revision default values;

create function raise_identity_revision() returns trigger language plpgsql as $$
begin
    update identity_revision set revision = revision + 1;
    return null;
end $$;

create trigger identity_changed after insert or update or delete or truncate on api_keys
    for each statement execute function raise_identity_revision();

create trigger identity_changed after insert or update or delete or truncate on resellers
    for each statement execute function raise_identity_revision();

create trigger identity_changed after insert or update or delete or truncate on operator_tokens
    for each statement execute function raise_identity_revision();

grant select, update on identity_revision to jalur_service;
