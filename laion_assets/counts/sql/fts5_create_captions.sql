-- For SQLite.  Out: the table `captions`, tokenized by the default unicode61; it keeps the index alone.
CREATE VIRTUAL TABLE captions USING fts5(caption, content = '', columnsize = 0)
