# shellcheck shell=bash
# Run all steps one after the other, and list at the end which failed.

steps=()
failures=0

# A tool that handles Ctrl-C itself would otherwise only end its own step.
trap 'exit 130' INT

# step NAME COMMAND [ARGUMENT...]
step() {
  local name=$1 began=$SECONDS result=passed
  shift
  printf '\n==> %s\n' "$name"
  "$@" || {
    result="FAILED"
    failures=$((failures + 1))
  }
  steps+=("$(printf '  %-6s  %-44s %4d s' "$result" "$name" $((SECONDS - began)))")
}

# summary TITLE: print the results; return whether every step passed.
summary() {
  printf '\n%s:\n' "$1"
  printf '%s\n' "${steps[@]}"
  if [ "$failures" -eq 0 ]; then
    printf '%s: all %d steps passed.\n' "$1" "${#steps[@]}"
  else
    printf '%s: %d of %d steps FAILED.\n' "$1" "$failures" "${#steps[@]}"
    return 1
  fi
}
