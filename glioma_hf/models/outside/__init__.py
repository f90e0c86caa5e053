"""Networks of others, taken as they were published: a file each."""
