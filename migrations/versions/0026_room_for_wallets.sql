-- Where a version of a wallet finds room on its page, it needs no entry in the index. While somebody
-- holds a snapshot no version can go: on pages half empty each soon moved to another page, with an
-- entry that every later look-up and change of the wallet steps over. With pages nine tenths empty it
-- is about one in eight. A thousand wallets take a mebibyte.
alter table wallets set (fillfactor = 10);
