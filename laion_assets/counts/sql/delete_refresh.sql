-- In: $table_name.  Out: nothing noted of that table of counts.
DELETE FROM refreshes WHERE table_name = $table_name
