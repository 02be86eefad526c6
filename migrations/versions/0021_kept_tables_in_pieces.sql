-- The content of a kept table in pieces: written at once, ten megabytes hold up the commits beside
-- them. Tables that were kept before, or by a process of an earlier version, stay in one.

create table table_version_pieces (
    version bigint not null,
    piece integer not null,
    content bytea not null,
    primary key (version, piece)
);
-- Under gzip already.
alter table table_version_pieces alter column content set storage external;

-- squawk-ignore ban-drop-not-null
alter table table_versions alter column content drop not null;

grant select, insert, delete on table_version_pieces to jalur_service;
