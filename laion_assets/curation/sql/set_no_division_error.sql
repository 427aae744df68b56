-- Out: what is divided by zero is NULL, as a value of one row is no reason to stop.
SET error_on_division_by_zero = false
