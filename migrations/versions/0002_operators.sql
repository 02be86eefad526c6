-- ---------------------------------------------------------------- operators

-- Append-only: the service role may not update or delete here. `operator` is who, `origin` from
-- where, `before` and `after` what the act changed, without secrets, `reason` why.
create table audit_log (
    audit_id uuid not null primary key,
    acted_at timestamptz not null default now(),
    operator text not null check (operator <> ''),
    origin text not null,
    action text not null check (action ~ '^[a-z_]+\.[a-z_]+$'),
    subject text not null,
    before json,
    after json,
    reason text not null default ''
);

create index audit_log_of_a_subject on audit_log (subject, audit_id);

-- A token is kept as the hash of its secret only.
create table operator_tokens (
    token_id text not null primary key,
    name text not null check (name <> ''),
    scopes text[] not null check (cardinality(scopes) > 0),
    secret_sha256 bytea not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

grant select, insert on audit_log to jalur_service;
grant select, insert, update on operator_tokens to jalur_service;
