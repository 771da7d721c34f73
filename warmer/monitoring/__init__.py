"""What is seen of the caches and the jobs: statistics, the doctor, metrics."""
