-- The Indonesian number series as they stand in 2026, so that a new shop knows brands without an act.
-- A shop that keeps prefixes of its own is left alone.

insert into brand_prefixes (prefix, brand)
select unnest(string_to_array(series.prefixes, ' ')), series.brand
from (values
    ('telkomsel', '0811 0812 0813 0821 0822 0823 0851 0852 0853'),
    ('byu', '085155 085156 085157 085158'),
    ('im3', '0814 0815 0816 0855 0856 0857 0858'),
    ('tri', '0895 0896 0897 0898 0899'),
    ('xl', '0817 0818 0819 0859 0877 0878 0879'),
    ('axis', '0831 0832 0833 0838'),
    ('smartfren', '0881 0882 0883 0884 0885 0886 0887 0888 0889')
) series (brand, prefixes)
where not exists (select from brand_prefixes);
