"""The doctor's checks, each on a real server in the state that it looks for."""
