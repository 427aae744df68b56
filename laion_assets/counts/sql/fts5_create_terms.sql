-- For SQLite.  Out: the table `terms`, with one row for every word of `probe`.
CREATE VIRTUAL TABLE terms USING fts5vocab(probe, 'instance')
