-- In: the Arrow rows `lance_rows`.  Out: the table `carried_images` of this connection, with them.
CREATE TEMP TABLE carried_images AS FROM lance_rows
