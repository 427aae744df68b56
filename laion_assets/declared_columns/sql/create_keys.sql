-- In: `key_batches`, the keys of a shard's rows and their places.  Out: the table `keys`.
CREATE TABLE keys AS SELECT place, key FROM key_batches
