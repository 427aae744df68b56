-- For SQLite.  Lets `captions` collect 256 MiB in memory before it writes: four times as fast as the default.
INSERT INTO captions (captions, rank) VALUES ('hashsize', 268435456)
