# shellcheck shell=bash
# What still has to be told to a running service. The mark is made before its files are replaced and taken away
# after the service took them over, so an interruption in between costs one reload more, never one less. A reboot
# clears the marks: the services then start with the new files anyway.

mark_pending() {
  [[ -e $SLM_RUN_DIR/pending-$1 ]] || { make_folder 0755 root:root "$SLM_RUN_DIR" && : >"$SLM_RUN_DIR/pending-$1"; }
}

is_pending() {
  [[ -e $SLM_RUN_DIR/pending-$1 ]]
}

clear_pending() {
  ! is_pending "$1" || rm -f "$SLM_RUN_DIR/pending-$1"
}
