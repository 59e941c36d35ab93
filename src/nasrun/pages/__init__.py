"""Pages for people: one file about runs, which needs no network and opens from a mail."""
