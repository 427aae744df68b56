-- For SQLite.  Out: the empty full-text index of `images.text`, written as Datasette recognizes it.
CREATE VIRTUAL TABLE images_fts USING fts5(
    text, tokenize = 'unicode61', content="images", content_rowid = 'id'
)
