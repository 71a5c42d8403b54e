"""Files by one kind of name, whether they lie on a disk or on S3."""
