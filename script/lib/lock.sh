# shellcheck shell=bash
# Lock steps that only one process may run at a time, such as installing into a folder.

# lock PYTHON FILE WHAT
# Take the lock on the file, waiting if necessary, and hold it until `unlock` or the end of the script.
# The lock belongs to the open file, so it outlives this Python process, and a killed script leaves none behind.
lock() {
  if ! : 2>/dev/null >>"$2"; then
    printf '%s: %s cannot be written in %s.\n' "$3" "$2" "$PWD" >&2
    printf '%s\n' "Make that folder writable for your user, or clone the project into a folder of your own." >&2
    exit 1
  fi
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
