-- For SQLite.  Out: the table `probe`, tokenized by the default unicode61.
CREATE VIRTUAL TABLE probe USING fts5(text)
