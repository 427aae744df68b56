-- For SQLite.  In: id, host, its images.
INSERT INTO domain (id, domain, image_counts) VALUES (?, ?, ?)
