-- In: {values}, expressions over the columns of `stored`, each with its name.  Out: their values, in the order of the rows.
SELECT {values} FROM stored
