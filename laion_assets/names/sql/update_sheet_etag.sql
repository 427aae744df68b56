-- In: $kind, $etag.  Out: the record of the kind with the server's new name for the same content.
UPDATE sheets SET etag = $etag WHERE kind = $kind
