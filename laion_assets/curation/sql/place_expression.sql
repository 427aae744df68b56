-- In: what a user wrote, in its place. It is parsed and never run. Out: a query.
SELECT
expression
FROM rows
