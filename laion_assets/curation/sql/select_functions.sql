-- Out: the functions whose result follows from their arguments alone, whatever the number of these.
SELECT function_name
FROM duckdb_functions()
GROUP BY function_name
HAVING bool_and(function_type = 'scalar' AND stability = 'CONSISTENT')
