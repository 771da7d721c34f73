"""The middleware: what it counts of a request, in threads, tasks and streams, and where it says so."""
