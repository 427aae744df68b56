"""Parts of a release as Lance tables of their own: filtered, searched, with chosen columns."""
