-- In: a query that was generated from a checked tree; name and type of its result.
-- Out: the value of each row, in their order.
SELECT CAST(value AS {type}) AS {name} FROM ({query}) AS computed (value)
