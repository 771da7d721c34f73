# shellcheck shell=bash
# Lock steps that only one process may run at a time, such as installing into a folder.

# lock PYTHON FILE WHAT
# Wait until nobody else holds the lock on the file, then hold it until `unlock` or the end of the script.
# The lock belongs to the open file: it outlives the Python process that took it, and a kill leaves none behind.
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
