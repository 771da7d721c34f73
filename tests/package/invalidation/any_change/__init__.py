"""Every way in which Django changes rows, tried at random."""
