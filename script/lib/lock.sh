# shellcheck shell=bash
# Lock steps that only one process may run at a time, such as installing into a folder.

# lock PYTHON FILE WHAT
# Take the lock on the file, waiting if necessary, and hold it until `unlock` or the end of the script.
# The lock belongs to the open file, so it outlives this Python process, and a killed script leaves none behind.
lock() {
  exec 9>"$2"
  "$1" - "$3" <<'PYTHON'
import fcntl, sys

try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print(f"{sys.argv[1]}: waiting for another process that is installing ...", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
PYTHON
}

unlock() {
  exec 9>&-
}
