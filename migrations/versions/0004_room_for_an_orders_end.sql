-- An order is written twice, when it is accepted and when it ends. Where its page has room for the
-- second version, no index is touched: half of each page is kept for that.
alter table orders set (fillfactor = 50);
