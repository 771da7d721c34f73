"""The checks of the doctor, by topic."""
