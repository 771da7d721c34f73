# shellcheck shell=bash
# One process at a time does what would break if two did it at once, like installing into one folder.

# lock PYTHON FILE WHAT
# Wait until nobody else holds the lock on the file, then hold it until `unlock` or the end of the script.
# The lock is of the open file: it stays when the Python that took it ends, and a kill leaves none behind.
lock() {
  exec 9>"$2"
  "$1" - "$3" <<'PYTHON'
import fcntl, sys

try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print(f"{sys.argv[1]}: another one is installing; waiting for it ...", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
PYTHON
}

unlock() {
  exec 9>&-
}
