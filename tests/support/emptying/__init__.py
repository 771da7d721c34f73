"""An app for the tests: its `flush`, which ends each transactional test, is quicker than Django's."""
