-- In: {table} quoted, the Arrow table `released`.  Out: rows that only one of the two has.
SELECT
    (SELECT count(*) FROM (SELECT * FROM {table} EXCEPT ALL SELECT * FROM released))
    + (SELECT count(*) FROM (SELECT * FROM released EXCEPT ALL SELECT * FROM {table}))
