-- Out: the table `carried` is gone.
DROP TABLE carried
