# What the command's container runs: sh -c THIS fyre COMMAND [SETUP]...
# Checks the working directory, runs the setup commands, then becomes the command. Needs a POSIX sh;
# sleep for timeouts. All variables begin with FYRE_: one of another name may be the run's own, and
# to assign to it would change it in the command's environment.
exec 2>&1 # one pipe, so that the log has both outputs in the order they were written
FYRE_TOLD=/dev/termination-log

not_started() {
	printf '%s' "$1" >"$FYRE_TOLD"
	exit 113
}

# End everything in the pod after the timeout, and say so; a pod's own deadline would also count the
# pull of the image.
watch() {
	[ -n "$FYRE_TIMEOUT" ] || return 0
	# A command may signal its own group before the watcher has done anything: so the watcher ignores
	# signals from its start.
	trap '' TERM HUP INT QUIT USR1 USR2 ALRM
	(
		sleep "$FYRE_TIMEOUT" || exit
		printf '%s' "$1timed out after $FYRE_TIMEOUT_TEXT" >"$FYRE_TOLD"
		kill -TERM -1
		sleep "$FYRE_GRACE"
		kill -KILL -1
	) </dev/null >/dev/null 2>&1 &
	FYRE_WATCHER=$!
	trap - TERM HUP INT QUIT USR1 USR2 ALRM
}

FYRE_COMMAND=$1
shift
cd "$FYRE_TOP" || not_started "there is no checkout"
FYRE_ROOT=$(pwd -P)
FYRE_FOLDER=$(cd -- "$FYRE_ROOT/$FYRE_WORKDIR" 2>/dev/null && pwd -P) ||
	not_started "workdir $FYRE_WORKDIR is not in this commit"
case $FYRE_FOLDER/ in
"$FYRE_ROOT"/*) ;;
*) not_started "workdir $FYRE_WORKDIR leads out of the checkout" ;;
esac
for FYRE_SETUP; do
	watch "setup failed: "
	sh -c "$FYRE_SETUP"
	FYRE_CODE=$?
	[ -z "$FYRE_TIMEOUT" ] || kill -KILL "$FYRE_WATCHER" 2>/dev/null
	[ "$FYRE_CODE" = 0 ] || not_started "setup failed: \`$(printf '%.60s' "$FYRE_SETUP" | tr '\n\t' '  ')\` exit $FYRE_CODE"
done
watch ""
cd -- "$FYRE_FOLDER" || not_started "workdir $FYRE_WORKDIR is not in this commit"
set -- "$FYRE_COMMAND"
unset FYRE_TIMEOUT FYRE_TIMEOUT_TEXT FYRE_GRACE FYRE_TOP FYRE_WORKDIR \
	FYRE_TOLD FYRE_WATCHER FYRE_COMMAND FYRE_ROOT FYRE_FOLDER FYRE_SETUP FYRE_CODE
exec sh -c "$1"
