-- What a key opens (null: everything, also what comes later), from where, and until when. A key that
-- is being replaced names its successor; both live until `expires_at`.
alter table api_keys add column name text not null default '';
alter table api_keys add column scopes text[];
alter table api_keys add column addresses cidr[] not null default '{}';
alter table api_keys add column expires_at timestamptz;
alter table api_keys add column replaced_by text;

-- When and from where each key was used last. Apart from the keys, whose every change has all
-- processes read them anew.
create table key_uses (
    key_id text primary key,
    used_at timestamptz not null,
    address text not null
);

-- The two sides. A reseller's test side is a reseller of its own, so that nothing of it can mix with
-- what is real: each of the two names the other as its twin.
alter table resellers add column test boolean not null default false;
alter table resellers add column twin_lane smallint;
alter table resellers add column twin_id uuid;

-- A test dealer is a simulator. Only orders of the test side go there, and nowhere else.
alter table dealers add column test boolean not null default false;

create function keep_side() returns trigger language plpgsql as $$
begin
    raise exception 'what is on one side, live or test, stays there' using errcode = 'check_violation';
end $$;

create trigger side_kept before update on resellers
    for each row when (old.test <> new.test) execute function keep_side();

create trigger side_kept before update on dealers
    for each row when (old.test <> new.test) execute function keep_side();

-- Until now a test key ordered like a live one, from live dealers, in the live account.
update api_keys set revoked_at = now() where mode = 'test' and revoked_at is null;

grant select, insert, update on key_uses to jalur_service;
