-- In: the table `carried`.  Out: its rows in `pictures`.
INSERT INTO pictures BY NAME SELECT * FROM carried
