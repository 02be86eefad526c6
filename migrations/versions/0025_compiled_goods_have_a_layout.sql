-- Compiled goods say how their bytes are laid out, so that a version of the program that lays them
-- out otherwise compiles its own instead of refusing them. A constant default rewrites nothing, and
-- both tables are empty or hold one row.
set local lock_timeout = '2s';

alter table compiled_goods add column layout smallint not null default 1;
