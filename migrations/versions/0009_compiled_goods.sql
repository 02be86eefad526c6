-- Products, prices and routes, which may be a million rows, change apart from the rest: their own
-- number is the revision that last changed them.
alter table routing_policy add column goods_revision bigint not null default 1;

-- Large goods, compiled once for all processes. They can be compiled again at any time, so they are
-- worth no log: after a crash, and on a standby that takes over, they are empty.
create unlogged table compiled_goods (
    goods_revision bigint primary key,
    compiled_at timestamptz not null default now(),
    routes_length bigint not null,
    routes_checksum text not null,
    prices_length bigint not null,
    prices_checksum text not null,
    report json not null
);

-- The routes' block, then the prices', in pieces.
create unlogged table compiled_pieces (
    goods_revision bigint not null,
    number integer not null,
    content bytea not null,
    primary key (goods_revision, number)
);
alter table compiled_pieces alter column content set storage external;

-- Prices change all the time and no index has them: with room on its page, a changed route touches no
-- index, and a new price list of everything writes a third of the log.
alter table routes set (fillfactor = 50);

grant select, insert, delete on compiled_goods, compiled_pieces to jalur_service;
