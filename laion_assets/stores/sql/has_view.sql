-- In: $view.  Out: whether this connection has noted that it has a view of that name.
SELECT getvariable($view) IS NOT NULL
