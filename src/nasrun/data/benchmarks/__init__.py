"""Official files of benchmarks, read to make tables of them (`nasrun.data.table`)."""
