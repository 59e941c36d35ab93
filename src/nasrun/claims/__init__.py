"""Claims of papers, their protocols, and what was measured of them (`nasrun reproduce`)."""
