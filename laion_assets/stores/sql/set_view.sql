-- In: {view} quoted.  Out: a note of this connection that it has a view of that name.
SET VARIABLE {view} = true
