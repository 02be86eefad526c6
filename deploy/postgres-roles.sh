#!/bin/sh
# Roles and database as docs/operating.md has them. Needs JALUR_OWNER_PASSWORD and JALUR_APP_PASSWORD;
# connects as the superuser that psql's own variables name. PostgreSQL's image runs it once, while
# its volume is new.
set -eu

psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="${PGUSER:-postgres}" \
    --dbname="${PGDATABASE:-postgres}" --set=owner_password="$JALUR_OWNER_PASSWORD" \
    --set=app_password="$JALUR_APP_PASSWORD" <<'SQL'
create role jalur_service nologin;
create role jalur_owner login createrole password :'owner_password' in role jalur_service;
create role jalur_app login password :'app_password' in role jalur_service;
create database jalur owner jalur_owner;
SQL
