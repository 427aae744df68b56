-- Out: a number divided by zero is NULL, for fractions too.
SET ieee_floating_point_ops = false
