-- Out: how many counts moved.
SELECT count(*) FROM moves
